"""Heads for a class of 5, 10 or 20 patients, on features of a network that never saw it.

    python benchmarks/few_shot.py run --data DIR [--only ham10000 ...] [--draws 12] [--networks 1]
    python benchmarks/few_shot.py report [--page docs/FEW_SHOT.md]

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
import time
from pathlib import Path

import numpy as np
from few_shot_intervals import Scored, values
from few_shot_report import SHOTS, key_of, read_ledger, report, scores_path
from few_shot_sets import STUDIES, Features, Study, features_of
from ledger import append

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
    parser.add_argument("--page", type=Path, help="of report: a page whose tables are written again")
    options = parser.parse_args()
    chosen = [study for study in STUDIES if not options.only or {study.name, key_of(study)} & {*options.only}]
    if not chosen:
        parser.error(f"--only names none of {', '.join(map(key_of, STUDIES))}")
    if options.what == "report":
        report(options.ledger, options.cache, options.draws, RESULTS / "few_shot.json", options.page)
        return
    if options.data is None:
        parser.error("run needs --data DIR")
    for study in chosen:
        run(study, options)


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


def write_scores(path: Path, scored: Scored) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **vars(scored))
    partial.rename(path)


if __name__ == "__main__":
    main()
