"""Heads for a class of 5, 10 or 20 patients, on features of a network that never saw it.

    python benchmarks/few_shot.py run --data DIR [--only ham10000 ...] [--draws 12] [--networks 1]
    python benchmarks/few_shot.py report

run: a network a data set (``--networks``: several, which draws take in turn) is trained without the rare class and
without its patients; its features are cached. A draw is an order of the patients (HAM10000: lesions) with the rare
class, of which the first 5, 10 and 20 are learned from: 20 contains 10 contains 5. All patients of the class outside
the 20 are test images, beside a fifth of the others. Each cell (study, draw, shots, head) is a line of
benchmarks/results/few_shot.jsonl; the same command goes on where it was stopped.
report: tables over the draws, with intervals by patient and draw, and the difference of each head to the linear
probe, paired; where its interval contains 0 there is not enough data to say which is better. Also as
benchmarks/results/few_shot.json.

Networks have fewer pixels and epochs than the configs they come from (few_shot_sets.STUDIES), to cost about three
minutes of one core. With one network a set, intervals do not contain what another network would give.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from few_shot_intervals import METRICS, Scored, interval, replicates, values, verdict
from few_shot_sets import STUDIES, Features, Study, features_of

SHOTS = (5, 10, 20)
FEWEST = 5  # patients with the rare class that are left to test on
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the condensed sets")
    parser.add_argument("--only", nargs="+", help="names of data sets, or NAME:CLASS")
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--networks", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("workdirs/few_shot"))
    parser.add_argument("--ledger", type=Path, default=RESULTS / "few_shot.jsonl")
    options = parser.parse_args()
    chosen = [study for study in STUDIES if not options.only or {study.name, key_of(study)} & {*options.only}]
    if not chosen:
        parser.error(f"--only names none of {', '.join(map(key_of, STUDIES))}")
    if options.what == "report":
        report(options)
        return
    if options.data is None:
        parser.error("run needs --data DIR")
    for study in chosen:
        run(study, options)


def key_of(study: Study) -> str:
    return f"{study.name}:{study.rare}"


def run(study: Study, options: argparse.Namespace) -> None:
    """Every cell of a study that the ledger does not have."""
    from few_shot_heads import HEADS

    done = {
        (line["study"], line["draw"], line["shots"], line["head"]) for line in read_ledger(options.ledger)
    }
    for draw in range(options.draws):
        features = features_of(study, options.data, options.cache, draw % options.networks)
        for shots in SHOTS:
            learned, tested = cases(features, draw, shots)
            if not len(learned):
                continue
            for head in HEADS:
                cell = (key_of(study), draw, shots, head)
                path = scores_path(options.cache, *cell)
                if cell in done and path.is_file():
                    continue
                start = time.process_time()
                before = without_rare(features, head, draw % options.networks, options.cache, study)
                scored = score(features, head, draw, learned, tested, before)
                write_scores(path, scored)
                found = values(scored, len(features.classes))
                rare = features.labels[learned] == len(features.classes) - 1
                line = {
                    "study": cell[0], "draw": draw, "shots": shots, "head": head,
                    **{name: round(float(value[0]), 5) for name, value in found.items()},
                    "rare_images": int(rare.sum()),
                    "test_rare": int((scored.labels == len(features.classes) - 1).sum()),
                    "test_rare_patients": len(np.unique(scored.groups[scored.labels == len(features.classes) - 1])),
                    "test_old": int((scored.labels < len(features.classes) - 1).sum()),
                    "classes": len(features.classes),
                    "core_seconds": round(time.process_time() - start, 2),
                    "network": features.network,
                }  # fmt: skip
                append(options.ledger, line)
        print(f"{key_of(study)}: draw {draw} done", flush=True)


def cases(features: Features, draw: int, shots: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to learn from and those to test on; none where too few patients would be left to test on."""
    rare = len(features.classes) - 1
    own = (features.part == "rare") & (features.labels == rare)
    patients = np.random.default_rng([1, draw]).permutation(np.unique(features.groups[own]))
    most = max((n for n in SHOTS if n + FEWEST <= len(patients)), default=0)
    if shots > most:
        return np.zeros(0, int), np.zeros(0, int)
    learned = own & np.isin(features.groups, patients[:shots])
    tested = own & ~np.isin(features.groups, patients[:most])
    old = features.part
    return np.flatnonzero((old == "train") | learned), np.flatnonzero((old == "test") | tested)


def without_rare(features: Features, head: str, seed: int, cache: Path, study: Study) -> np.ndarray:
    """int: the class that a head of this kind gives each old test image when it knows the old classes only."""
    path = cache / f"{key_of(study).replace(':', '-')}-{head}-network{seed}-before.npy"
    if not path.is_file():
        from few_shot_heads import HEADS

        train, test = (np.flatnonzero(features.part == name) for name in ("train", "test"))
        found = HEADS[head](
            features.features[train],
            features.labels[train],
            features.features[test],
            len(features.classes) - 1,
            0,
        )
        np.save(path, found.argmax(axis=1))
    return np.load(path)


def score(
    features: Features, head: str, draw: int, learned: np.ndarray, tested: np.ndarray, before: np.ndarray
) -> Scored:
    """The test images under one head."""
    from few_shot_heads import HEADS

    found = HEADS[head](
        features.features[learned],
        features.labels[learned],
        features.features[tested],
        len(features.classes),
        draw,
    )
    earlier = np.full(len(tested), -1)
    earlier[features.part[tested] == "test"] = before
    return Scored(
        found[:, -1], found.argmax(axis=1), earlier, features.labels[tested], features.groups[tested]
    )


def scores_path(cache: Path, study: str, draw: int, shots: int, head: str) -> Path:
    return cache / "scores" / study.replace(":", "-") / f"{head}-shots{shots}-draw{draw}.npz"


def write_scores(path: Path, scored: Scored) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **vars(scored))
    partial.rename(path)


def read_ledger(path: Path) -> list[dict]:
    """The lines of cells that are whole, the last of each."""
    cells = {}
    for text in path.read_text().splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue  # torn by a kill: the cell is run again
        if "study" in line:
            cells[line["study"], line["draw"], line["shots"], line["head"]] = line
    return list(cells.values())


def append(path: Path, line: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def report(options: argparse.Namespace) -> None:
    """The tables of every study and number of shots of which all heads have the same draws."""
    ledger, summary = read_ledger(options.ledger), []
    for study in map(key_of, STUDIES):
        for shots in SHOTS:
            lines = [line for line in ledger if (line["study"], line["shots"]) == (study, shots)]
            heads = list(dict.fromkeys(line["head"] for line in lines))
            draws = [
                d for d in range(options.draws) if sum(line["draw"] == d for line in lines) == len(heads) > 0
            ]
            paths = {(d, h): scores_path(options.cache, study, d, shots, h) for d in draws for h in heads}
            if not draws or not all(path.is_file() for path in paths.values()):
                continue
            scored = [{h: _read(paths[d, h]) for h in heads} for d in draws]
            summary.append(_summary(study, shots, lines, replicates(scored, lines[0]["classes"]), len(draws)))
            _show(summary[-1])
    if not summary:
        sys.exit(f"no study of {options.ledger} has its scores in {options.cache}: run it first")
    (RESULTS / "few_shot.json").write_text(json.dumps(summary, indent=1) + "\n")


def _read(path: Path) -> Scored:
    with np.load(path) as stored:
        return Scored(**{name: stored[name] for name in stored.files})


def _summary(study: str, shots: int, lines: list[dict], found: dict, draws: int) -> dict:
    first = next(iter(found))
    heads = {}
    for head, metrics in found.items():
        heads[head] = {
            name: {"mean": float(metrics[name][0]), "interval": interval(metrics[name])} for name in METRICS
        }
        if head != first:
            for name in METRICS:
                difference = metrics[name] - found[first][name]
                heads[head][name] |= {
                    "difference": float(difference[0]),
                    "difference_interval": interval(difference),
                    "verdict": verdict(*interval(difference)),
                }
    facts = ("test_rare", "test_rare_patients", "test_old", "network")
    return {"study": study, "shots": shots, "draws": draws, **{k: lines[0][k] for k in facts}, "heads": heads}


def _show(summary: dict) -> None:
    print(
        f"\n{summary['study']}, {summary['shots']} patients to learn from, {summary['draws']} draws; test: "
        f"{summary['test_rare']} images of {summary['test_rare_patients']} patients with the class, "
        f"{summary['test_old']} others (of the first draw)"
    )
    ranks = ("average_precision", "auroc")
    first = next(iter(summary["heads"]))
    print(
        "| head | "
        + " | ".join(f"{name} | less {first}" for name in ranks)
        + " | "
        + " | ".join(METRICS[2:])
        + " |"
    )
    print("|---|" + "---|" * (len(METRICS) + len(ranks)))
    for head, metrics in summary["heads"].items():
        cells = [
            cell for name in ranks for cell in (_with_interval(metrics[name]), _difference(metrics[name]))
        ]
        cells += [_with_interval(metrics[name]) for name in METRICS[2:]]
        print(f"| `{head}` | " + " | ".join(cells) + " |")


def _with_interval(metric: dict) -> str:
    low, high = metric["interval"]
    return f"{metric['mean']:.3f} ({low:.3f} to {high:.3f})"


def _difference(metric: dict) -> str:
    if "difference" not in metric:
        return ""
    low, high = metric["difference_interval"]
    return f"{metric['difference']:+.3f} ({low:+.3f} to {high:+.3f}): {metric['verdict']}"


if __name__ == "__main__":
    main()
