"""Networks over few-shot episodes of Omniglot, beside the published numbers; and what is learned in context.

    IMBAL_JAX_DATA=DIR python benchmarks/episodes.py list
    IMBAL_JAX_DATA=DIR python benchmarks/episodes.py run [NAME ...] [--seeds 0 1] [--runs DIR] [--scale 1.0]
    python benchmarks/episodes.py report

DIR/omniglot holds Omniglot (docs/DATA.md). run: trains the named cells, all by default, as ``imbal-jax train`` does,
one after the other; a finished one is a line of benchmarks/results/episodes.jsonl, and is not trained again. The same
command goes on where it was stopped. --scale shortens every training, for a trial; such lines say so.
report: accuracies with 95 % margins by episode, beside what the papers print.

Cells: presentation/NETWORK and string/NETWORK are the protocol of Santoro et al. 2016 (5 classes, 50 pictures, labels
one-hot; 15 classes, 150 pictures, strings of five letters); way_shot/NETWORK is N-way K-shot on 28x28 pixels, with
rotations, a query of each class: matching and prototypical networks are trained once, on 20 ways and 1 shot, and
tested on 5 and 20 ways of 1 and 5 shots, the others are trained and tested on 5 ways and 1 shot; in_context/...
varies what Chan et al. 2022 vary: bursts, Zipf's law, the network.
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

from ledger import append, read

from imbal_jax.config import Config, Data, Episode, Model, Optim, Train
from imbal_jax.methods import METHODS
from imbal_jax.transforms.augment import Augment

LEDGER = Path(__file__).parent / "results" / "episodes.jsonl"
PUBLISHED = {
    "presentation/mann": "Santoro et al. 2016: 36.4, 82.8, 94.9, 98.1 at the 1st, 2nd, 5th, 10th",
    "presentation/episode_lstm": "Santoro et al. 2016: 24.4, 49.5, 63.6, 62.5",
    "presentation/episode_mlp": "Santoro et al. 2016: 24.4, 19.6, 22.8, 19.5",
    "string/mann": "Santoro et al. 2016: 0.1, 62.6, 88.7, 95.3",
    "string/episode_lstm": "Santoro et al. 2016: 0.0, 2.2, 5.6, 12.7",
    "way_shot/matching": "Vinyals et al. 2016: 98.1, 98.9, 93.8, 98.5",
    "way_shot/prototypical": "Snell et al. 2017: 98.8, 99.7, 96.0, 98.9",
    "way_shot/snail": "Mishra et al. 2018: 99.07",
}
"""Accuracies in per cent, as the papers print them; of way_shot on 5 ways of 1 and 5 shots, then 20 ways."""

WAYS_SHOTS = ((5, 1), (5, 5), (20, 1), (20, 5))
MANN = {"slots": 64, "key_strength": True}
SHARES = {"validation_share": 100 / 1623, "test_share": 423 / 1623}


@dataclass(frozen=True)
class Cell:
    """A training: its name, its config without data folder and seed, how many episodes it sees, and the ways and
    shots on which it is tested besides."""

    name: str
    config: Config
    episodes: int
    tested: tuple[tuple[int, int], ...] = ()


def cells() -> list[Cell]:
    """All of them, the cheap ones first."""
    found = []
    for task, label, ways, count in (
        ("episodes", "presentation", 5, 300_000),
        ("string_episodes", "string", 15, 100_000),
    ):
        for network, options in (("mann", MANN), ("episode_lstm", {}), ("episode_mlp", {})):
            if network == "episode_mlp" and task != "episodes":
                continue
            letters = {"label_digits": 5} if task == "string_episodes" else {}
            slots = {"slots": 128} if network == "mann" and ways == 15 else {}
            model = Model(name=network, options={**options, **slots, **letters})
            found.append(Cell(f"{label}/{network}", presentations(task, ways, model), count))
    for network in ("prototypical", "matching"):
        found.append(Cell(f"way_shot/{network}", way_shot(20, 1, network, 4), 16_000, WAYS_SHOTS))
    for network in ("episode_transformer", "snail"):
        found.append(Cell(f"way_shot/{network}", way_shot(5, 1, network, 16), 160_000))
    for network in ("episode_transformer", "episode_lstm"):
        for bursty, zipf in ((0.9, 0.0), (0.0, 0.0), (0.5, 0.0), (0.9, 1.0)):
            name = f"in_context/{network}/bursty{bursty:g}/zipf{zipf:g}"
            found.append(Cell(name, in_context(network, bursty, zipf), 1_600_000))
    return found


def presentations(task: str, ways: int, model: Model) -> Config:
    """Santoro et al. 2016: ten pictures of each class, labels one step late."""
    return Config(
        name="episodes",
        task=task,
        methods=(METHODS["ce"],),
        data=Data(source="omniglot", image_size=20, **SHARES),
        episode=Episode(ways=ways, shots=10, rotations=True, validation=400, test=2000),
        model=model,
        optim=Optim(learning_rate=1e-3, weight_decay=0.0, clip_norm=10.0),
        train=Train(batch_size=16, evaluations=15, steps_per_dispatch=50),
        augment=Augment(shift=0.05, rotation=10, fill="zero"),
    )


def way_shot(ways: int, shots: int, network: str, batch_size: int) -> Config:
    """N-way K-shot: labelled pictures, then a query of each class."""
    return Config(
        name="episodes",
        task="episodes",
        methods=(METHODS["ce"],),
        data=Data(source="omniglot", image_size=28, **SHARES),
        episode=Episode(ways=ways, shots=shots, queries=1, rotations=True, validation=400, test=2000),
        model=Model(name=network, options={"encoder": "conv"} if network == "episode_transformer" else {}),
        optim=Optim(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0),
        train=Train(batch_size=batch_size, evaluations=10, steps_per_dispatch=20),
    )


def in_context(network: str, bursty: float, zipf: float) -> Config:
    """Chan et al. 2022: eight labelled pictures and a query, under labels that never change. Four layers, not 12, a
    convolutional encoder, and a rate of 1e-3, not 3e-4, with which far fewer steps do."""
    return Config(
        name="in_context",
        task="in_context",
        methods=(METHODS["ce"],),
        data=Data(source="omniglot", image_size=20, validation_share=10 / 1623, test_share=20 / 1623),
        episode=Episode(ways=2, shots=4, bursty=bursty, zipf=zipf, validation=500, test=2000),
        model=Model(name=network, options={"encoder": "conv", "encoder_width": 16}),
        optim=Optim(learning_rate=1e-3, weight_decay=0.0, clip_norm=0.25, schedule="constant", warmup=0.08),
        train=Train(batch_size=32, evaluations=20, steps_per_dispatch=50),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["list", "run", "report"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--runs", type=Path, default=Path("workdirs/episodes"))
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    options = parser.parse_args()
    known = {cell.name: cell for cell in cells()}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no cell is called {unknown[0]}: see list")
    if options.what == "list":
        for cell in known.values():
            print(f"{cell.name:45} {cell.episodes:>10,} episodes  {PUBLISHED.get(cell.name, '')}")
    elif options.what == "run":
        for name in options.names or known:
            for seed in options.seeds:
                run(known[name], seed, options)
    else:
        report(options.ledger)


def run(cell: Cell, seed: int, options: argparse.Namespace) -> None:
    """Train a cell to its end, and append its line; nothing where it is there."""
    from environment import environment

    from imbal_jax.data.splits.class_split import episode_steps
    from imbal_jax.train import fit

    address = {"cell": cell.name, "seed": seed, "scale": options.scale}
    if any(all(line[key] == value for key, value in address.items()) for line in read(options.ledger)):
        return
    config = cell.config
    turned = 4 if config.episode.rotations else 1
    trained = 1 - config.data.validation_share - config.data.test_share
    pictures = round(1623 * trained) * 20 * turned
    epochs = options.scale * cell.episodes * episode_steps(config) / pictures
    folder = Path(os.environ.get("IMBAL_JAX_DATA", "data")) / "omniglot"
    config = replace(
        config,
        seed=seed,
        data=replace(config.data, dir=folder, split_seed=seed),
        train=replace(config.train, epochs=epochs),
    )
    workdir = options.runs / cell.name.replace("/", "-") / f"{seed}-{options.scale:g}"
    (result,) = fit(config, workdir)
    line = {
        **address,
        "episodes": round(options.scale * cell.episodes),
        "rows": result.table,
        "tested": {
            f"{ways}-way {shots}-shot": tested(config, workdir, ways, shots) for ways, shots in cell.tested
        },
        "step": result.best_step,
        "seconds": round(result.seconds, 1),
        **environment(),
    }
    append(options.ledger, line)


def tested(config: Config, workdir: Path, ways: int, shots: int) -> dict[str, float]:
    """The finished run of ``workdir`` on episodes of the test classes of other ways and shots: its row ``macro``."""
    from rich.console import Console

    from imbal_jax.runs.address import find_runs
    from imbal_jax.runs.external import validate

    config = replace(config, episode=replace(config.episode, ways=ways, shots=shots))
    out, quiet = workdir / f"{ways}w{shots}s", Console(quiet=True)
    (result,) = validate(config, find_runs(workdir), out, part="test", console=quiet)
    return dict(result.table["macro"])


def report(ledger: Path) -> None:
    """Print every line, by cell."""
    for line in sorted(read(ledger), key=lambda line: (line["cell"], line["scale"], line["seed"])):
        rows = line["rows"]
        wanted = [f"presentation {k}" for k in (1, 2, 5, 10) if f"presentation {k}" in rows]
        if line.get("tested"):
            rows, wanted = line["tested"], list(line["tested"])
        wanted = wanted if len(wanted) > 1 else [name for name in rows if name.startswith("in ")] or ["macro"]
        shown = "  ".join(
            f"{name} {100 * rows[name]['accuracy']:.1f} ± {100 * rows[name]['accuracy_margin']:.1f}"
            + among_shown(rows[name])
            for name in wanted
        )
        short = "" if line["scale"] == 1 else f"  (trained {line['scale']:g} of its length)"
        print(f"{line['cell']}  seed {line['seed']}  {line['episodes']:,} episodes  {shown}{short}")
        if line["cell"] in PUBLISHED:
            print(f"    {PUBLISHED[line['cell']]}")


def among_shown(row: dict[str, float]) -> str:
    """Of sequences that ask in context: how often the label is right among those that the sequence shows."""
    value = row.get("accuracy_among_shown")
    return "" if value is None else f" (among those shown {100 * value:.1f})"


if __name__ == "__main__":
    main()
