"""Neural Turing Machines on the tasks of their paper, beside LSTMs; and what an update costs, beside PyTorch.

    python benchmarks/ntm.py study [--only copy/feed_forward ...] [--seeds 0 1 2 3 4] [--sequences 20000] [--runs DIR]
    python benchmarks/ntm.py speed [--repeats 9]
    python benchmarks/ntm.py table
    python benchmarks/ntm.py curves [--out .github/ntm_curves.svg]

study: trains every task with every model and seed as configs/ntm_copy.py does, with the sizes and learning rates of
Graves et al. 2014, tables 1 to 3, but for the LSTM of repeat copy, of 256 cells a layer, not 512, whose 5.3 million
weights no cache of a core holds (two sequences a second), and for the models called adam and readout. Each run that
ends adds a line to results/ntm.jsonl: the curve (sequences, bits a sequence in training), the metrics of the test
sets by length, seconds. Runs that have a line are left out, and one that was stopped goes on where it was.
speed: an update (a sequence of at most 20 vectors drawn, gradient, RMSProp) and its compilation; beside the same
cell, weights and sequences in PyTorch, eager, on one thread. Both in turn, medians of wall and of CPU time;
results/ntm_speed.json.
table: what the lines of results/ntm.jsonl say.
curves: bits a sequence over the sequences seen, a panel a task, a line a run (Graves et al. 2014, figures 3, 6, 10,
13 and 18).
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
from environment import environment, processor
from ledger import append, read

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "ntm.jsonl"

ONE_HOT = {"weighting": "one_hot"}
LSTM = {"controller": "lstm", **ONE_HOT}
SORTING = {"size": 100, "read_heads": 5, "write_heads": 5, **LSTM}


@dataclass(frozen=True)
class Setting:
    """A network of a task: its name, options and learning rate; ``adam``: in batches of 8 with AdamW, a rate that
    falls as a cosine and a gradient of norm 1 at most, in place of one sequence a batch and RMSProp."""

    network: str
    options: dict[str, Any]
    rate: float
    adam: bool = False


MODELS: dict[str, dict[str, Setting]] = {
    "copy": {
        "feed_forward": Setting("ntm", {}, 1e-4),
        "feed_forward_one_hot": Setting("ntm", ONE_HOT, 1e-4),
        "lstm_controller": Setting("ntm", LSTM, 1e-4),
        "lstm_controller_learned": Setting("ntm", {"controller": "lstm"}, 1e-4),
        "lstm": Setting("lstm", {"size": 256}, 3e-5),
    },
    "repeat_copy": {
        "feed_forward": Setting("ntm", ONE_HOT, 1e-4),
        "lstm_controller": Setting("ntm", LSTM, 1e-4),
        "lstm": Setting("lstm", {"size": 256}, 3e-5),
        "lstm_controller_adam": Setting("ntm", LSTM, 1e-3, adam=True),
    },
    "associative_recall": {
        "feed_forward": Setting("ntm", {"size": 256, "read_heads": 4, "write_heads": 4, **ONE_HOT}, 1e-4),
        "lstm_controller": Setting("ntm", LSTM, 1e-4),
        "lstm": Setting("lstm", {"size": 256}, 1e-4),
    },
    "ngrams": {
        "feed_forward": Setting("ntm", ONE_HOT, 3e-5),
        "lstm_controller": Setting("ntm", LSTM, 3e-5),
        "lstm": Setting("lstm", {"size": 128}, 1e-4),
        "lstm_controller_adam": Setting("ntm", {**LSTM, "heads_start": "content"}, 1e-3, adam=True),
        "lstm_controller_readout": Setting(
            "ntm", {**LSTM, "heads_start": "content", "readout": 64}, 1e-3, adam=True
        ),
        "lstm_adam": Setting("lstm", {"size": 128}, 1e-3, adam=True),
    },
    "priority_sort": {
        "feed_forward": Setting("ntm", {"size": 512, "read_heads": 8, "write_heads": 8, **ONE_HOT}, 3e-5),
        "lstm_controller": Setting("ntm", SORTING, 3e-5),
        "lstm": Setting("lstm", {"size": 128}, 3e-5),
        "lstm_controller_adam": Setting("ntm", {**SORTING, "heads_start": "content"}, 1e-3, adam=True),
        "lstm_adam": Setting("lstm", {"size": 128}, 1e-3, adam=True),
    },
}
"""Task -> model -> its setting."""

SEQUENCES = {
    "copy": 20_000,
    "repeat_copy": 20_000,
    "associative_recall": 40_000,
    "ngrams": 20_000,
    "priority_sort": 20_000,
}
DISPATCH = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["study", "speed", "table", "curves"])
    parser.add_argument("--only", nargs="*", default=[], metavar="TASK/MODEL")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(5)))
    parser.add_argument("--sequences", type=int)
    parser.add_argument("--runs", type=Path, default=Path("workdirs/ntm"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS.parents[1] / ".github" / "ntm_curves.svg")
    options = parser.parse_args()
    {"study": study, "speed": speed, "table": table, "curves": curves}[options.what](options)


# Study


def study(options: argparse.Namespace) -> None:
    done = {(line["task"], line["model"], line["seed"], line["sequences"]) for line in read(LINES)}
    for task, models in MODELS.items():
        for model in models:
            if options.only and f"{task}/{model}" not in options.only:
                continue
            sequences = options.sequences or SEQUENCES[task]
            for seed in options.seeds:
                if (task, model, seed, sequences) in done:
                    continue
                line = run(task, model, seed, sequences, options.runs)
                append(LINES, line)
                print(said(line), flush=True)


def run(task: str, model: str, seed: int, sequences: int, runs: Path) -> dict[str, Any]:
    """Train one model on one task; the line of its result."""
    from imbal_jax.config import Config, Data, Model, Optim, Train
    from imbal_jax.train import fit

    of = MODELS[task][model]
    published = Optim(
        optimizer="rmsprop",
        learning_rate=of.rate,
        schedule="constant",
        warmup=0.0,
        weight_decay=0.0,
        clip_norm=10.0,
    )
    adam = Optim(learning_rate=of.rate, warmup=0.016, weight_decay=0.0)
    batch_size = 8 if of.adam else 1
    config = Config(
        name=f"ntm_{task}",
        seed=seed,
        data=Data(source="sequences", sequence=task),  # type: ignore[arg-type]
        model=Model(name=of.network, options=of.options),
        optim=adam if of.adam else published,
        train=Train(
            epochs=sequences / 1000,
            batch_size=batch_size,
            evaluations=10,
            steps_per_dispatch=DISPATCH // batch_size,
            devices=1,
        ),
    )
    cpu = time.process_time()
    (result,) = fit(config, runs / f"{task}-{model}-{seed}-{sequences}", report=False)
    history = [r for r in result.history if r["kind"] == "train"]
    return {
        "task": task,
        "model": model,
        "seed": seed,
        "sequences": sequences,
        "options": of.options,
        "learning_rate": of.rate,
        **({"optimizer": "adamw, cosine", "batch_size": batch_size} if of.adam else {}),
        "rows": {row: {k: round(v, 5) for k, v in of.items()} for row, of in result.table.items()},
        "seconds": round(result.seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "processor": processor(),
        "jax": jax.__version__,
        "curve": [[batch_size * r["step"], round(r["bits_per_sequence"], 4)] for r in history],
    }


def said(line: dict[str, Any]) -> str:
    """One run in a line: bits and wrong bits of each test set."""
    rows = "; ".join(
        f"{row}: {of['bits_per_sequence']:.4g} bits, {of['wrong_bits']:.3g} wrong"
        + (f", optimal {of['optimal_bits']:.1f}" if "optimal_bits" in of else "")
        for row, of in line["rows"].items()
    )
    return (
        f"{line['task']} {line['model']} seed {line['seed']}, {line['sequences']:,} sequences, "
        f"{line['cpu_seconds']:.0f} CPU-s: {rows}"
    )


def table(options: argparse.Namespace) -> None:
    """Every task and model: how many seeds end below one bit in training lengths, and the medians."""
    of: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in read(LINES):
        of[line["task"], line["model"], line["sequences"]].append(line)
    for (task, model, sequences), found in of.items():
        rows = {row: [line["rows"][row] for line in found] for row in found[0]["rows"]}
        solved = sum(row["bits_per_sequence"] < 1 for row in rows["macro"])
        text = "; ".join(
            f"{row} {median(r['bits_per_sequence'] for r in each):.4g} bits, "
            f"{median(r['wrong_bits'] for r in each):.3g} wrong"
            for row, each in rows.items()
        )
        cpu = median(line["cpu_seconds"] for line in found)
        print(
            f"{task:20} {model:24} {sequences:7,} x {len(found)} seeds, {solved} below 1 bit, {cpu:.0f} CPU-s: {text}"
        )


COLOURS = {"feed_forward": "#0b5fd0", "lstm_controller": "#0f8a5f", "lstm": "#1b1f24"}
NAMES = {
    "feed_forward": "NTM, feed-forward",
    "feed_forward_one_hot": "NTM, feed-forward, one-hot start",
    "lstm_controller": "NTM, LSTM",
    "lstm_controller_learned": "NTM, LSTM, learned start",
    "lstm_controller_adam": "NTM, LSTM, AdamW",
    "lstm_controller_readout": "NTM, LSTM, AdamW, readout",
    "lstm": "LSTM",
    "lstm_adam": "LSTM, AdamW",
}


def curves(options: argparse.Namespace) -> None:
    """Draw the learning curves of the ledger; the longest study of each task and model."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "ntm", "font.size": 9})
    lines = read(LINES)
    tasks = [task for task in MODELS if any(line["task"] == task for line in lines)]
    figure = Figure(figsize=(3.1 * len(tasks), 3.6), layout="constrained")
    for axes, task in zip(np.atleast_1d(figure.subplots(1, len(tasks))), tasks, strict=True):
        longest = {
            model: max((x["sequences"] for x in lines if (x["task"], x["model"]) == (task, model)), default=0)
            for model in MODELS[task]
        }
        for model in MODELS[task]:
            own = [
                x for x in lines if (x["task"], x["model"], x["sequences"]) == (task, model, longest[model])
            ]
            for at, line in enumerate(own):
                steps, bits = np.array(line["curve"]).T
                axes.plot(
                    steps / 1000,
                    np.maximum(bits, 1e-3),
                    color=next(c for name, c in COLOURS.items() if model.startswith(name)),
                    linestyle="-" if model in COLOURS else ":" if model.endswith("readout") else "--",
                    linewidth=1.2,
                    label=f"{NAMES[model]} ({len(own)})" if at == 0 else None,
                )
        if any("optimal_bits" in line["rows"]["macro"] for line in lines if line["task"] == task):
            (best, *_) = (line["rows"]["macro"]["optimal_bits"] for line in lines if line["task"] == task)
            axes.axhline(best, color="#8a8f98", linestyle=":", label="best estimator")
        axes.set(
            title=task.replace("_", " "), xlabel="thousand sequences", ylabel="bits a sequence, in training"
        )
        if task != "ngrams":
            axes.set_yscale("log")
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(options.out, metadata={"Date": None})
    print(options.out)


# Speed


def speed(options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    report: dict[str, Any] = {"environment": environment()}
    for controller in ("feed_forward", "lstm"):
        ours, compile_seconds = our_updates(controller)
        theirs = pytorch_updates(controller)
        walls: dict[str, list[float]] = {"ours": [], "pytorch": []}
        cpus: dict[str, list[float]] = {"ours": [], "pytorch": []}
        for _ in range(options.repeats):
            for name, update, count in (("ours", ours, 400), ("pytorch", theirs, 10)):
                cpu, wall = time.process_time(), time.perf_counter()
                update(count)
                walls[name].append((time.perf_counter() - wall) / count)
                cpus[name].append((time.process_time() - cpu) / count)
        found = {
            f"{name}_updates_per_{unit}": round(1 / median(values[name]), 1)
            for unit, values in (("second", walls), ("cpu_second", cpus))
            for name in walls
        }
        ratios = {
            f"times_as_fast_by_{clock}_time": round(median(values["pytorch"]) / median(values["ours"]), 1)
            for clock, values in (("wall", walls), ("cpu", cpus))
        }
        report[controller] = {**found, **ratios, "compile_seconds": round(compile_seconds, 1)}
        print(controller, report[controller], flush=True)
    (RESULTS / "ntm_speed.json").write_text(json.dumps(report, indent=2) + "\n")


def our_updates(controller: str) -> tuple[Callable[[int], None], float]:
    """``count -> None``, so many updates of the trainer's program; and the seconds that it took to compile."""
    from imbal_jax.config import Config, Data, Model, Optim, Train
    from imbal_jax.data.load import load
    from imbal_jax.engine import parallel
    from imbal_jax.methods import METHODS
    from imbal_jax.tasks import SEQUENCES as SEQUENCES_TASK
    from imbal_jax.training.stage import first_stage

    config = Config(
        name="speed",
        data=Data(source="sequences", sequence_counts=(2, 2), sequence_tests=()),
        model=Model(name="ntm", options={"controller": controller}),
        optim=Optim(optimizer="rmsprop", learning_rate=1e-4, schedule="constant", warmup=0.0, clip_norm=10.0),
        train=Train(epochs=1000, batch_size=1, devices=1),
    )
    splits = load(config, RESULTS, lambda line: None)
    mesh = parallel.make_mesh(1)
    task = SEQUENCES_TASK.for_options(config.data)
    stage = first_stage(config, METHODS["ce"], task, splits, mesh)
    state = [parallel.replicate(stage.state, mesh)]

    def update(count: int) -> None:
        state[0], metrics, _ = stage.advance(state[0], count)
        jax.block_until_ready(metrics)

    began = time.perf_counter()
    update(1)
    return update, time.perf_counter() - began


def pytorch_updates(controller: str) -> Callable[[int], None]:
    """The same with PyTorch's autograd and optimiser; its first loss is checked to be ours."""
    import torch

    from imbal_jax.models import NTM

    model = NTM(8, controller=controller)  # type: ignore[arg-type]
    sequences = list(drawn_for_pytorch(64))
    x = sequences[0][0]
    variables = jax.jit(model.init)(jax.random.key(0), x[None])
    flat = {
        "/".join(p.key for p in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    params = {
        name.removeprefix("params/"): torch.tensor(np.array(leaf), requires_grad=True)
        for name, leaf in flat.items()
    }
    expected = np.asarray(model.apply(variables, x[None]))[0]
    found = pytorch_logits(params, torch.tensor(x), controller).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    optimizer = torch.optim.RMSprop(
        params.values(), lr=1e-4, alpha=0.95, eps=1e-2, centered=True, momentum=0.9
    )
    place = [0]

    def update(count: int) -> None:
        for _ in range(count):
            x, y = sequences[place[0] % len(sequences)]
            place[0] += 1
            optimizer.zero_grad()
            logits, target = pytorch_logits(params, torch.tensor(x), controller), torch.tensor(y)
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, target.clamp(min=0), reduction="none"
            )
            (losses * (target >= 0)).sum().backward()
            torch.nn.utils.clip_grad_norm_(params.values(), 10.0)
            optimizer.step()

    return update


def drawn_for_pytorch(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs [T, 9] and targets [T, 8] of sequences to copy, cut where they end: eager code need not go on."""
    from imbal_jax.data.sources.sequence_kinds import Range, draw_sequences

    drawn = draw_sequences("copy", jax.random.split(jax.random.key(0), count), Range((1, 20)), 41)
    for x, y in zip(*map(np.asarray, drawn), strict=True):
        end = int(np.flatnonzero(y[:, 0] >= 0)[-1]) + 1
        yield x[:end], y[:end].astype(np.float32)


def pytorch_logits(p: dict[str, Any], x: Any, controller: str) -> Any:
    """The cell as someone would write it in PyTorch: one sequence [T, F] -> logits [T, O]; a head to read, one to
    write."""
    import torch

    width = p["first_memory"].shape[1]
    memory, w = p["first_memory"], torch.softmax(p["first_weightings"], dim=-1)
    reads = p["first_reads"][0]
    driven = x @ p["inputs"] + p["bias"]
    hidden = cell = torch.zeros(100)
    features = []
    for now in driven:
        before = now + reads @ p["reads"]
        if controller == "lstm":
            i, f, g, o = (before + hidden @ p["hidden"]).chunk(4)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
        else:
            hidden = torch.tanh(before)
        said = hidden @ p["heads"] + p["heads_bias"]
        keys, strengths, gates, shifts, exponents, erase, add = said.split(
            [2 * width, 2, 2, 6, 2, width, width]
        )
        cosine = torch.nn.functional.cosine_similarity(
            torch.tanh(keys).view(2, 1, width), memory[None], dim=-1
        )
        content = torch.softmax(torch.nn.functional.softplus(strengths)[:, None] * cosine, dim=-1)
        gate = torch.sigmoid(gates)[:, None]
        mixed = gate * content + (1 - gate) * w
        s = torch.softmax(shifts.view(2, 3), dim=-1)
        moved = s[:, :1] * mixed.roll(-1, 1) + s[:, 1:2] * mixed + s[:, 2:] * mixed.roll(1, 1)
        powers = (1 + torch.nn.functional.softplus(exponents))[:, None] * torch.log(moved.clamp(min=1e-37))
        w = torch.softmax(powers, dim=-1)
        reads = w[0] @ memory
        memory = memory * (1 - torch.outer(w[1], torch.sigmoid(erase))) + torch.outer(w[1], torch.tanh(add))
        features.append(torch.cat([hidden, reads]))
    return torch.stack(features) @ p["head/kernel"] + p["head/bias"]


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
