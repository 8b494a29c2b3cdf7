"""The command line, imbal-jax COMMAND. User mistakes are one line on stderr and exit status 2."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

USAGE = """usage: imbal-jax COMMAND ...

  imbal-jax train configs/NAME.py [--workdir DIR] [--optim.learning-rate 1e-3 ...]
  imbal-jax evaluate WORKDIR [--deploy.points 'sensitivity >= 0.95' ...] [--data.dir DIR ...]
  imbal-jax ingest DICOM_DIR --labels labels.csv --out DIR [--size 224 ...]
  imbal-jax prepare NAME --dir DIR --out DIR [--size 224 ...]
  imbal-jax predict RUN PATH [--out predictions.csv] [--key-file FILE] [--names FILE]
  imbal-jax export RUN [--out DIR]
  imbal-jax compare RUN RUN ... [--csv FILE] [--json FILE]
  imbal-jax methods

train CONFIG --help lists every option of that config with its value; ingest --help and prepare --help their own."""


PRIORS = "--data.deployment-priors"  # of the place of use: no other data, and no other training


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 stopped, 2 wrong input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    name, *rest = words
    from imbal_jax.errors import InputError

    try:
        if name not in COMMANDS:
            raise InputError(f"unknown command {name!r}: one of {', '.join(COMMANDS)}")
        return COMMANDS[name](rest)
    except InputError as error:
        print(f"imbal-jax: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"imbal-jax: {os_error(error, rest)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("imbal-jax: interrupted; the same command goes on where train and ingest were", file=sys.stderr)
        return 130


def os_error(error: OSError, words: Sequence[str]) -> str:
    """What to say of an error of the operating system.

    The file is named where the command line has it below --workdir or --out: other files may be images, whose names
    name people.
    """
    where = "a file"
    if isinstance(error.filename, str):
        path = Path(os.path.realpath(error.filename))
        ours = [
            Path("workdirs"),
            *(Path(word) for flag, word in pairwise(words) if flag in ("--workdir", "--out")),
        ]
        ours += [Path(word.partition("=")[2]) for word in words if word.startswith(("--workdir=", "--out="))]
        if any(path.is_relative_to(os.path.realpath(place)) for place in ours):
            where = error.filename
    written = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    reason = error.strerror or type(error).__name__
    return (
        f"cannot {'write' if written else 'read or write'} {where}: {reason}; nothing saved is lost: mend that and "
        "run the same command to continue"
    )


def train(words: list[str]) -> int:
    """``train CONFIG [--workdir DIR] [options]``"""
    from imbal_jax.config import load_config, override
    from imbal_jax.errors import InputError

    if not words or words[0].startswith("-"):
        raise InputError("train needs a config file: imbal-jax train configs/NAME.py")
    path, words = Path(words[0]), words[1:]
    workdir, words = _take(words, "--workdir")
    config = override(load_config(path), words)
    use_all_cores(config.train.batch_size, config.train.devices)
    from imbal_jax.train import fit

    fit(config, Path(workdir) if workdir else Path("workdirs") / config.name)
    return 0


def evaluate(words: list[str]) -> int:
    """``evaluate WORKDIR [--method NAME] [--deploy.points RULE ...]``, or on other images: ``[--data.* ...]``"""
    from imbal_jax.config import override
    from imbal_jax.errors import InputError

    if not words or words[0].startswith("-"):
        raise InputError("evaluate needs a folder: imbal-jax evaluate WORKDIR")
    workdir, words = Path(words[0]), words[1:]
    name, words = _take(words, "--method")
    step, words = _take(words, "--step")
    part, words = _take(words, "--split")
    out, words = _take(words, "--out")
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    wrong = [flag for flag in flags if not flag.startswith(("--data.", "--deploy.", "--train.devices"))]
    if wrong or (words and not words[0].startswith("-")):
        raise InputError(
            f"evaluate does not know {wrong[0] if wrong else words[0]}: its options are --method, --step, --split, "
            "--out, --data.*, --deploy.* and --train.devices"
        )
    from imbal_jax.runs.address import find_runs
    from imbal_jax.runs.claim import read_claim

    runs = find_runs(workdir)
    workdir = runs[0].workdir
    if name is not None:
        finished = dict.fromkeys(run.method for run in runs)
        runs = [run for run in runs if run.method == name]
        if not runs:
            raise InputError(f"--method {name} is not finished in {workdir}: there are {', '.join(finished)}")
    config = override(read_claim(workdir), words)
    use_all_cores(config.train.batch_size, config.train.devices)
    other = any(flag.startswith("--data.") and flag != PRIORS for flag in flags)
    if part is None and step is None and not other:
        if out is not None:
            raise InputError(
                "--out is for another data set or checkpoint: give --data.*, --split or --step too"
            )
        from imbal_jax.runs.evaluate import rescore

        rescore(config, workdir, runs=runs)
        return 0
    if step is not None and not step.isdigit():
        raise InputError(f"--step {step} is no step of a checkpoint: give a whole number")
    from imbal_jax.runs.external import PARTS, validate

    part = part or ("all" if other else "test")
    if part not in PARTS:
        raise InputError(f"--split is {part!r}, allowed are {', '.join(PARTS)}")
    place = f"{config.data.source}-{part}" + (f"-step{step}" if step else "")
    validate(
        config,
        runs,
        Path(out) if out else workdir / "evaluations" / place.replace(":", "-").replace("/", "-"),
        part=part,
        step=int(step) if step else None,
        refit=any(flag.startswith(("--deploy.", PRIORS)) for flag in flags),
    )
    return 0


def predict(words: list[str]) -> int:
    """``predict RUN PATH [--out predictions.csv] [--key-file FILE] [--names FILE]``"""
    from imbal_jax.errors import InputError

    out, words = _take(words, "--out")
    key_file, words = _take(words, "--key-file")
    names, words = _take(words, "--names")
    if len(words) != 2 or any(word.startswith("-") for word in words):
        unknown = [word for word in words if word.startswith("-")]
        raise InputError(
            f"predict does not know {unknown[0]}: its options are --out, --key-file and --names"
            if unknown
            else "predict needs a run and what to score: imbal-jax predict WORKDIR/METHOD PATH --out predictions.csv"
        )
    batch_size = 64
    use_all_cores(batch_size, None)
    from imbal_jax.runs.predict import predict as predict_images

    predict_images(
        Path(words[0]),
        Path(words[1]),
        Path(out or "predictions.csv"),
        key_file=Path(key_file) if key_file else None,
        names=Path(names) if names else None,
        batch_size=batch_size,
        workers=os.cpu_count() or 1,
    )
    return 0


def export(words: list[str]) -> int:
    """``export RUN [--out DIR]``"""
    from imbal_jax.errors import InputError

    out, words = _take(words, "--out")
    if len(words) != 1 or words[0].startswith("-"):
        raise InputError("export needs one run: imbal-jax export WORKDIR/METHOD --out DIR")
    from imbal_jax.engine.parallel import make_mesh
    from imbal_jax.runs.address import find_run
    from imbal_jax.runs.export import export_run
    from imbal_jax.runs.restore import restore_deployed

    deployed = restore_deployed(find_run(Path(words[0])), make_mesh(1))
    folder = export_run(deployed, Path(out) if out else deployed.address.folder / "export")
    print(f"{folder}: model.stablehlo, model.json")
    return 0


def compare(words: list[str]) -> int:
    """``compare RUN RUN ... [--csv FILE] [--json FILE]``"""
    from imbal_jax.errors import InputError

    out = {}
    for kind in ("csv", "json"):
        name, words = _take(words, f"--{kind}")
        if name is not None:
            out[kind] = Path(name)
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise InputError(
            f"compare does not know {unknown[0]}: its options are --csv FILE and --json FILE, once"
        )
    from imbal_jax.runs.compare import compare as compare_runs

    compare_runs([Path(word) for word in words], out=out)
    return 0


def ingest(words: list[str]) -> int:
    """``ingest DICOM_DIR --labels FILE --out DIR [options]``"""
    from imbal_jax.arguments import parse
    from imbal_jax.data.ingest.options import IngestOptions

    options = parse(IngestOptions, words, prog="imbal-jax ingest")
    from imbal_jax.data.ingest.run import ingest as ingest_folder

    ingest_folder(options)
    return 0


def prepare(words: list[str]) -> int:
    """``prepare NAME --dir DIR --out DIR [options]``: a public set as records."""
    from imbal_jax.arguments import parse
    from imbal_jax.data.records.builders import PrepareOptions
    from imbal_jax.data.records.builders import prepare as prepare_set

    prepare_set(parse(PrepareOptions, words, prog="imbal-jax prepare"))
    return 0


def methods(words: list[str]) -> int:
    """``methods``: the catalogue."""
    from rich.console import Console
    from rich.table import Table

    from imbal_jax.errors import InputError
    from imbal_jax.methods import METHODS

    if words:
        raise InputError(f"methods takes no argument, got {words[0]!r}")
    table = Table(
        title="Methods; combine as NAME,loss=focal,composition=balanced,weights=inverse", show_lines=True
    )
    for heading in ("name", "settings", "when to use it", "paper"):
        table.add_column(heading)
    for method in METHODS.values():
        settings = ", ".join(f"{name}={_shown(value)}" for name, value in method.settings.items())
        table.add_row(method.name, settings, method.summary, method.paper)
    Console().print(table)
    return 0


def _shown(value: object) -> str:
    return (
        ("+" if isinstance(value[0], str) else ":").join(map(_shown, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "compare": compare,
    "ingest": ingest,
    "prepare": prepare,
    "methods": methods,
}


def use_all_cores(batch_size: int, devices: int | None) -> None:
    """Make XLA show a CPU as several devices, before it looks: one device keeps one core busy in a convolution.

    The number is ``devices``, or the largest that divides the batch and is no more than the cores. Without effect
    on a GPU or TPU, and where XLA_FLAGS already says a number.
    """
    flag = "--xla_force_host_platform_device_count"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag in flags:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = devices or max(n for n in range(1, cores + 1) if batch_size % n == 0)
    os.environ["XLA_FLAGS"] = f"{flags} {flag}={count}".strip()


def _take(words: list[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of ``flag`` and the words without it."""
    from imbal_jax.errors import InputError

    for place, word in enumerate(words):
        if word == flag:
            if place + 1 == len(words) or words[place + 1].startswith("--"):
                raise InputError(f"{flag} needs a value")
            return words[place + 1], words[:place] + words[place + 2 :]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1], words[:place] + words[place + 1 :]
    return None, words


if __name__ == "__main__":
    sys.exit(main())
