"""The command line, imbal-jax COMMAND. User mistakes are one line on stderr and exit status 2."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from imbal_jax import __version__, processes
from imbal_jax.arguments import check_empty, os_error, out_of_memory, parse_command, split_words
from imbal_jax.console import encode_or_spell, make_console
from imbal_jax.cores import usable_cores
from imbal_jax.errors import InputError, did_you_mean

Positional = tyro.conf.Positional
PRIORS = "--data.deployment-priors"  # changes neither the data nor the training
BROKEN_PIPE = 141  # exit status that a shell reports for a process killed by SIGPIPE


@dataclass(frozen=True, kw_only=True)
class Init:
    """Look at your own images and labels, print what is found, and write a config that fits them.

    Any option of train (--data.columns patient=subject_id, --data.image-size 64, --methods ce focal, ...) replaces
    what is suggested.
    """

    # A folder of images with a table of labels or with folders as classes, a set of records, or an NPZ file.
    where: Annotated[Path, Positional, tyro.conf.arg(metavar="DIR")]
    # The config to write.
    out: Path = Path("my_config.py")
    # How long the training of a method may take on this machine.
    minutes: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score the chosen checkpoints of finished runs again, or score them on other images.

    With --deploy.* the calibration and the operating points change. With --data.*, --episode.*, --split or --step the
    images, the episodes or the checkpoint are others, and the report goes to OUT. --train.devices is understood too.
    """

    # A workdir, WORKDIR/METHOD, or WORKDIR/METHOD/seedN.
    run: Annotated[Path, Positional, tyro.conf.arg(metavar="WORKDIR")]
    # The only method that is scored.
    method: str | None = None
    # The step of a checkpoint that was kept, instead of the chosen one.
    step: int | None = None
    # The part of the data set: test, or all where --data.* names another one. It has to be given where that is the
    # set of the training, as in a folder that was moved.
    split: Literal["all", "train", "validation", "test"] | None = None
    # The folder of the report on other images; WORKDIR/evaluations/NAME if left out.
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Write the calibrated probabilities and the calls of a finished run for a folder, a file or records.

    Of WORKDIR/METHOD with several seeds, the mean of their probabilities.
    """

    # A workdir with one method, WORKDIR/METHOD, or WORKDIR/METHOD/seedN.
    run: Annotated[Path, Positional, tyro.conf.arg(metavar="RUN")]
    # Pictures or DICOM files at any depth, one file, or a data set of records.
    path: Annotated[Path, Positional, tyro.conf.arg(metavar="PATH")]
    # The table to write.
    out: Path = Path("predictions.csv")
    # The secret of the keyed ids of files; OUT.key if left out.
    key_file: Path | None = None
    # A second table, readable by its owner only, from ids to paths.
    names: Path | None = None
    # Of a run on masks: what the masks are written as. dicom: of DICOM files segmentation objects, which keep the
    # patient and the study of their file (pip install 'imbal-jax[seg]'); of other pictures PNG.
    masks: Literal["png", "dicom"] = "png"


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a finished run as StableHLO, with a description of its inputs and outputs."""

    # WORKDIR/METHOD, or WORKDIR/METHOD/seedN where there are several seeds.
    run: Annotated[Path, Positional, tyro.conf.arg(metavar="RUN")]
    # The folder to make; the run's own, export/, if left out.
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Differences between finished runs on one test set, with intervals over its patients and corrected p-values."""

    # Workdirs, WORKDIR/METHOD or WORKDIR/METHOD/seedN; the first is what the others are compared with.
    runs: Annotated[tuple[Path, ...], Positional, tyro.conf.arg(metavar="RUN")]
    # Write the differences as a table, too.
    csv: Path | None = None
    # Write them as JSON, too.
    json: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Enroll:
    """Add classes to a finished run of prototype_head or memory_head: its memory grows, nothing is trained.

    Writes a run of its own, and prints what the new classes cost the old ones on the run's test images.
    """

    # WORKDIR/METHOD, or WORKDIR/METHOD/seedN where there are several seeds.
    run: Annotated[Path, Positional, tyro.conf.arg(metavar="RUN")]
    # Images in folders called as their classes (CLASS, or train/CLASS and test/CLASS), or with a table of labels.
    new: Annotated[Path, Positional, tyro.conf.arg(metavar="NEW_DIR")]
    # The workdir to make; WORKDIR-NEW_DIR, beside the run's own, if left out.
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Methods:
    """List the methods of the catalogue, or what one of them is."""

    # One method, by its name, or a combination as loss=focal,composition=balanced.
    name: Annotated[str | None, Positional, tyro.conf.arg(metavar="NAME")] = None


USAGE = """usage: imbal-jax COMMAND ...

  imbal-jax init DIR [--out my_config.py] [--minutes 10] [--data.columns patient=subject_id ...]
  imbal-jax train configs/NAME.py [--workdir DIR] [--seeds 0 1 2] [--optim.learning-rate 1e-3 ...]
  imbal-jax evaluate WORKDIR [--deploy.points 'sensitivity >= 0.95' ...] [--data.dir DIR ...]
  imbal-jax predict RUN PATH [--out predictions.csv] [--key-file FILE] [--names FILE]
  imbal-jax export RUN [--out DIR]
  imbal-jax compare RUN RUN ... [--csv FILE] [--json FILE]
  imbal-jax enroll RUN NEW_DIR [--out DIR]
  imbal-jax ingest DICOM_DIR --labels labels.csv --out DIR [--size 224 ...] [--masks beside]
  imbal-jax prepare NAME --dir DIR --out DIR [--size 224 ...]
  imbal-jax benchmark SUITE [--out DIR] [--workers N] [--shard I/N] [--list] [--report] [--rerun KEY]
  imbal-jax methods [NAME]
  imbal-jax launch --processes N -- train configs/NAME.py ...
  imbal-jax --version

train, evaluate and predict run as several processes: of this machine with launch, of a cluster that JAX knows with
--distributed, elsewhere with --coordinator HOST:PORT --process I --processes N.

COMMAND --help lists the options of a command; train CONFIG --help those of that config, with its values.
A RUN is WORKDIR/METHOD, all its seeds, or WORKDIR/METHOD/seedN."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 done, 1 stopped, 2 wrong input, 130 interrupted, 141 output pipe closed, 143 stopped by a signal.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    encode_or_spell(sys.stdout, sys.stderr)
    if "matplotlib" not in sys.modules:
        os.environ["MPLBACKEND"] = "agg"  # figures go to files; a misspelt one would stop the import
    try:
        status, message = _run(words), ""
    except BrokenPipeError:
        # otherwise Python reports an error when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status, message = BROKEN_PIPE, ""
    except (Exception, KeyboardInterrupt) as error:
        status, message = _ending(error, words)
        if not message:
            processes.fail(error)
            raise
    return processes.leave(status, message)


def _ending(error: BaseException, words: Sequence[str]) -> tuple[int, str]:
    """The exit status and the one line for an error; no line for an error of the program."""
    if isinstance(error, InputError):
        return error.status, str(error)
    if isinstance(error, OSError):
        return 1, os_error(error, words[1:])
    if isinstance(error, MemoryError | RuntimeError):
        return 1, out_of_memory(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted; run the same command to resume train, ingest or benchmark"
    return 1, ""


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        status = 0 if words else 2
    elif words[0] == "--version":
        print(f"imbal-jax {__version__}")
        status = 0
    elif words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS)
        raise InputError(f"unknown command {words[0]!r}: {hint}one of {', '.join(COMMANDS)}")
    else:
        check_empty(words)
        if words[0] == "launch" and {"-h", "--help"} & {*words[1:2]}:
            print(USAGE)
            return 0
        own = processes.join(words[1:]) if words[0] in processes.COMMANDS else words[1:]
        status = COMMANDS[words[0]](own)
    sys.stdout.flush()
    return status


def init(words: list[str]) -> int:
    """``init DIR [--out my_config.py] [--minutes 10] [options of train]``"""
    own, others = split_words(words, ("--out", "--minutes"))
    places = [word for word in others[:1] if not word.startswith("--")]
    options = parse_command(
        Init,
        ["--help"] if {"-h", "--help"} & {*words} else [*places, *own],
        name="init",
        also="those of train",
    )
    use_all_cores(64, None)
    from imbal_jax.init.command import init as write_config

    write_config(options.where, options.out, minutes=options.minutes, overrides=others[1:])
    return 0


def train(words: list[str]) -> int:
    """``train CONFIG [--workdir DIR] [options]``"""
    from imbal_jax.config import load_config, override

    if words[:1] in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if not words or words[0].startswith("-"):
        raise InputError("train needs a config file: imbal-jax train configs/NAME.py")
    own, rest = split_words(words[1:], ("--workdir",))
    if own and len(own) != 2:
        raise InputError(
            "--workdir needs a value" if len(own) < 2 else f"--workdir takes one value, got {own[1:]}"
        )
    config = override(load_config(Path(words[0])), rest)
    use_all_cores(config.train.batch_size, config.train.devices)
    from imbal_jax.train import fit

    fit(config, Path(own[1]) if own else Path("workdirs") / config.name)
    return 0


def evaluate(words: list[str]) -> int:
    """``evaluate WORKDIR [--method NAME] [--deploy.points RULE ...]``, or on other images: ``[--data.* ...]``"""
    changed, own = split_words(words, ("--data.", "--episode.", "--deploy.", "--train.devices"))
    options = parse_command(
        Evaluate,
        own,
        name="evaluate",
        also="--data.*, --episode.*, --deploy.* and --train.devices as for train",
    )
    from imbal_jax.config import images_of, override
    from imbal_jax.runs.address import find_runs
    from imbal_jax.runs.claim import read_claim

    runs = find_runs(options.run)
    workdir = runs[0].workdir
    if options.method is not None:
        finished = dict.fromkeys(run.method for run in runs)
        runs = [run for run in runs if run.method == options.method]
        if not runs:
            raise InputError(
                f"--method {options.method} is not finished in {workdir}: there are {', '.join(finished)}"
            )
    claimed = read_claim(workdir)
    config = override(claimed, changed)
    use_all_cores(config.train.batch_size, config.train.devices)
    flags = [word.split("=")[0] for word in changed if word.startswith("--")]
    other = images_of(config.data) != images_of(claimed.data)
    episodes = any(flag.startswith("--episode.") for flag in flags)
    given = options.out is not None and any(flag.startswith("--data.") and flag != PRIORS for flag in flags)
    if options.split is None and options.step is None and not other and not episodes and not given:
        if options.out is not None:
            raise InputError(
                "--out is for another data set or checkpoint: give --data.*, --episode.*, --split or --step too"
            )
        from imbal_jax.runs.rescore import rescore

        rescore(config, workdir, runs=runs)
        return 0
    from imbal_jax.report.result import run_names
    from imbal_jax.runs.evaluation_name import evaluation_name
    from imbal_jax.runs.external import validate

    part = options.split or (None if other else "test")
    some = [] if runs == find_runs(workdir) else run_names(runs)
    validate(
        config,
        runs,
        options.out or workdir / "evaluations" / evaluation_name(config, part or "all", options.step, some),
        part=part,
        step=options.step,
        refit=any(flag.startswith(("--deploy.", PRIORS)) for flag in flags),
    )
    return 0


def predict(words: list[str]) -> int:
    """``predict RUN PATH [--out predictions.csv] [--key-file FILE] [--names FILE] [--masks png]``"""
    options = parse_command(Predict, words, name="predict")
    batch_size = 64
    use_all_cores(batch_size, None)
    from imbal_jax.runs.predict import predict as predict_images

    predict_images(
        options.run,
        options.path,
        options.out,
        key_file=options.key_file,
        names=options.names,
        batch_size=batch_size,
        workers=usable_cores(),
        masks=options.masks,
    )
    return 0


def export(words: list[str]) -> int:
    """``export RUN [--out DIR]``"""
    options = parse_command(Export, words, name="export")
    from imbal_jax.engine.parallel import make_mesh
    from imbal_jax.runs.address import find_run
    from imbal_jax.runs.export import export_run
    from imbal_jax.runs.restore import restore_deployed

    deployed = restore_deployed(find_run(options.run), make_mesh(1))
    folder = export_run(deployed, options.out or deployed.address.folder / "export")
    print(f"{folder}: model.stablehlo, model.json")
    return 0


def compare(words: list[str]) -> int:
    """``compare RUN RUN ... [--csv FILE] [--json FILE]``"""
    options = parse_command(Compare, words, name="compare")
    from imbal_jax.runs.compare import compare as compare_runs

    given = {"csv": options.csv, "json": options.json}
    compare_runs(list(options.runs), out={kind: path for kind, path in given.items() if path is not None})
    return 0


def enroll(words: list[str]) -> int:
    """``enroll RUN NEW_DIR [--out DIR]``"""
    options = parse_command(Enroll, words, name="enroll")
    from imbal_jax.runs.enroll import enroll as enroll_classes

    enroll_classes(options.run, options.new, options.out)
    return 0


def ingest(words: list[str]) -> int:
    """``ingest DICOM_DIR --labels FILE --out DIR [options]``"""
    from imbal_jax.data.ingest.options import IngestOptions

    options = parse_command(IngestOptions, words, name="ingest")
    from imbal_jax.data.ingest.ingest import ingest as ingest_folder

    ingest_folder(options)
    return 0


def prepare(words: list[str]) -> int:
    """``prepare NAME --dir DIR --out DIR [options]``: a public set as records."""
    from imbal_jax.data.ingest.prepare import PrepareOptions
    from imbal_jax.data.ingest.prepare import prepare as prepare_set

    prepare_set(parse_command(PrepareOptions, words, name="prepare"))
    return 0


def benchmark(words: list[str]) -> int:
    """``benchmark SUITE [--out DIR] [options]``: the runs of a suite, or the report on them."""
    from imbal_jax.suite.options import BenchmarkOptions

    options = parse_command(BenchmarkOptions, words, name="benchmark")
    from imbal_jax.suite.command import benchmark as run_suite

    run_suite(options)
    return 0


def methods(words: list[str]) -> int:
    """``methods [NAME]``: the catalogue, or one method."""
    options = parse_command(Methods, words, name="methods")
    from imbal_jax.methods.listing import catalogue_table, describe_method

    console = make_console()
    console.print(describe_method(options.name) if options.name else catalogue_table())
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "init": init,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "compare": compare,
    "enroll": enroll,
    "ingest": ingest,
    "prepare": prepare,
    "benchmark": benchmark,
    "methods": methods,
    "launch": processes.launch,
}


def use_all_cores(batch_size: int, devices: int | None) -> None:
    """Make XLA split a CPU into several devices: a convolution uses one core of a device. Call it before JAX starts.

    The number is ``devices``, or the largest divisor of the batch size up to the number of cores; of several
    processes, of its share in them. No effect on a GPU or TPU, or if XLA_FLAGS already sets a number.
    """
    flag = "--xla_force_host_platform_device_count"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag in flags:
        return
    cores, share = usable_cores(), processes.count()
    count = devices and max(1, devices // share)
    count = count or max((n for n in range(1, cores + 1) if batch_size % (n * share) == 0), default=1)
    os.environ["XLA_FLAGS"] = f"{flags} {flag}={count}".strip()


if __name__ == "__main__":
    sys.exit(main())
