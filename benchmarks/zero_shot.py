"""Classes without one example, known by a description only: what attributes can do on features of a trained network.

    python benchmarks/zero_shot.py run --data DIR [--only cifar10:dog-bird ...]
    python benchmarks/zero_shot.py report [--page docs/FEW_SHOT.md]

A network is trained without two classes (HAM10000: without df and vasc, the network of few_shot.py). Each class,
seen or not, is described by attributes (ATTRIBUTES below: common knowledge, written down before anything was run).
dap (Lampert et al. 2009): one logistic regression an attribute, a class has the product of its attributes'
probabilities over their priors. eszsl (Romera-Paredes and Torr 2015): a bilinear map in closed form, whose two
penalties are chosen by setting two seen classes aside at a time.
run: a line a pair and a learner in benchmarks/results/zero_shot.jsonl. What has a line is left out.
report: tables. between: images of the two classes, which of the two; chance is 0.5. among all: the same images, all
classes possible, and the test images of seen classes; their harmonic mean (Xian et al. 2018).
"""

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_sets import STUDIES, Study, brief, features_of
from ledger import append, read
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "zero_shot.jsonl"
MARK = "<!-- zero_shot.py report --page writes from here -->"
END = "<!-- to here -->"
PENALTIES = 10.0 ** np.arange(-3, 4)
REPLICATES = 1000

CIFAR = {
    "animal": "bird cat deer dog frog horse",
    "flies": "airplane bird",
    "lives or moves in water": "frog ship",
    "has wheels": "airplane automobile truck",
    "drives on roads": "automobile truck",
    "has fur": "cat deer dog horse",
    "has four legs": "cat deer dog frog horse",
    "has hooves": "deer horse",
    "lives in homes": "cat dog",
    "carries goods": "ship truck",
    "is larger than a person": "airplane automobile horse ship truck",
    "is seen against the sky": "airplane bird",
    "has a long muzzle": "deer dog horse",
    "lives in forests": "bird deer frog",
}
HAM = {
    "of melanocytes": "mel nv",
    "of keratinocytes": "akiec bcc bkl",
    "of vessels": "vasc",
    "of fibrous tissue": "df",
    "malignant or before it": "akiec bcc mel",
    "from sun damage": "akiec bcc bkl mel",
    "has a pigment network": "df mel nv",
    "scales": "akiec bkl",
    "red": "akiec bcc vasc",
    "brown": "bkl df mel nv",
    "firm": "bcc df",
}
ATTRIBUTES: dict[str, dict[str, str]] = {"cifar10": CIFAR, "ham10000": HAM}
"""Data set -> attribute -> the classes that have it."""

PAIRS = (
    ("airplane", "truck"),
    ("automobile", "ship"),
    ("bird", "dog"),
    ("cat", "horse"),
    ("deer", "frog"),
)
"""Of CIFAR-10: two vehicles or two animals, so that "animal" alone does not tell them apart."""


def studies() -> list[Study]:
    """Those of ``few_shot_sets`` form, the two unseen classes in ``rare`` and ``left_out``."""
    found = [
        Study("cifar10", rare, "cifar10_lt_short.py", "cifar10_jpeg", brief(3, long_tail=None), (other,))
        for rare, other in PAIRS
    ]
    return [*found, next(study for study in STUDIES if study.name == "ham10000")]


def key_of(study: Study) -> str:
    return f"{study.name}:{'-'.join([study.rare, *study.left_out])}"


@dataclass(frozen=True)
class Images:
    """features [N, D], labels into classes, groups, and part: train and test of seen classes, rare of the others."""

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    part: np.ndarray
    classes: tuple[str, ...]
    unseen: tuple[int, ...]


def images_of(study: Study, data: Path, cache: Path) -> Images:
    features_of(study, data, cache, 0)  # trains the network where it is not there yet
    with np.load(cache / f"{study.network}-seed0.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    classes = tuple(map(str, arrays["classes"]))
    scale = np.sqrt(np.square(arrays["features"][arrays["part"] == "train"]).mean())
    unseen = tuple(classes.index(name) for name in (study.rare, *study.left_out))
    part = arrays["part"].astype(str)
    return Images(arrays["features"] / scale, arrays["labels"], arrays["groups"], part, classes, unseen)


def signatures(name: str, classes: tuple[str, ...]) -> np.ndarray:
    """[C, A] of 1 and 0."""
    return np.array([[c in having.split() for having in ATTRIBUTES[name].values()] for c in classes], float)


# Learners: features and labels of the seen classes, signatures [C, A], test features -> scores [M, C]

Learner = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def dap(x: np.ndarray, labels: np.ndarray, described: np.ndarray, test: np.ndarray) -> np.ndarray:
    scores = np.zeros((len(test), len(described)))
    for attribute in described.T:
        has = attribute[labels] > 0
        if has.all() or not has.any():
            continue  # no seen class has it, or all have: nothing can be learned of it
        fitted = LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(x, has)
        chance, prior = fitted.predict_proba(test)[:, 1], attribute[np.unique(labels)].mean()
        ratios = np.log(np.stack([(1 - chance) / (1 - prior), chance / prior], axis=1) + 1e-12)
        scores += ratios[:, attribute.astype(int)]
    return scores


def eszsl(x: np.ndarray, labels: np.ndarray, described: np.ndarray, test: np.ndarray) -> np.ndarray:
    seen = np.unique(labels)
    best = max(
        itertools.product(PENALTIES, PENALTIES),
        key=lambda penalties: _held_out(x, labels, described, seen, penalties),
    )
    return test @ _bilinear(x, labels, described, seen, best) @ described.T


def _held_out(
    x: np.ndarray, labels: np.ndarray, described: np.ndarray, seen: np.ndarray, penalties: tuple[float, float]
) -> float:
    """Mean accuracy between two seen classes that are set aside, over pairs."""
    found = []
    for pair in itertools.combinations(seen.tolist(), 2):
        aside = np.isin(labels, pair)
        rest = seen[~np.isin(seen, pair)]
        scores = x[aside] @ _bilinear(x[~aside], labels[~aside], described, rest, penalties)
        called = (scores @ described[list(pair)].T).argmax(axis=1)
        right = np.asarray(pair)[called] == labels[aside]
        found.append(np.mean([right[labels[aside] == c].mean() for c in pair]))
    return float(np.mean(found))


def _bilinear(
    x: np.ndarray, labels: np.ndarray, described: np.ndarray, seen: np.ndarray, penalties: tuple[float, float]
) -> np.ndarray:
    """[D, A]: (X'X + g I)^-1 X'Y S (S'S + l I)^-1, Y of 1 and -1, S the signatures of the seen classes."""
    targets = np.where(labels[:, None] == seen, 1.0, -1.0)
    s = described[seen]
    left = np.linalg.solve(x.T @ x + penalties[0] * len(x) * np.eye(x.shape[1]), x.T @ targets @ s)
    return left @ np.linalg.inv(s.T @ s + penalties[1] * np.eye(s.shape[1]))


LEARNERS: dict[str, Learner] = {"dap": dap, "eszsl": eszsl}


# Scores


def measured(images: Images, scores: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Metrics of scores [M, C] of the images ``rows``, with 95 % intervals from resampling groups within classes."""
    labels, groups = images.labels[rows], images.groups[rows]
    first, second = images.unseen
    unseen = np.isin(labels, images.unseen)
    pair = np.asarray(images.unseen)[scores[:, images.unseen].argmax(axis=1)] == labels
    among = scores.argmax(axis=1) == labels
    seen_only = np.delete(np.arange(scores.shape[1]), images.unseen)
    alone = seen_only[scores[:, seen_only].argmax(axis=1)] == labels

    def metrics(weight: np.ndarray) -> dict[str, float]:
        def mean(right: np.ndarray, where: np.ndarray) -> float:
            members = [labels == c for c in np.unique(labels[where])]
            return float(
                np.mean([np.average(right[m], weights=weight[m]) for m in members if weight[m].any()])
            )

        both = mean(among, unseen), mean(among, ~unseen)
        return {
            "between": mean(pair, unseen),
            "auroc": float(
                roc_auc_score(
                    labels[unseen] == first,
                    scores[unseen][:, first] - scores[unseen][:, second],
                    sample_weight=weight[unseen],
                )
            ),
            "among_all_unseen": both[0],
            "among_all_seen": both[1],
            "harmonic": 2 * both[0] * both[1] / max(sum(both), 1e-12),
            "seen_without_unseen": mean(alone, ~unseen),
        }

    rng, drawn = np.random.default_rng(0), []
    _, number = np.unique(groups, return_inverse=True)
    for _ in range(REPLICATES):
        times = np.bincount(rng.integers(0, number.max() + 1, number.max() + 1), minlength=number.max() + 1)
        drawn.append(metrics(times[number].astype(float)))
    whole = metrics(np.ones(len(rows)))
    return {
        name: [
            round(value, 4),
            *(round(float(q), 4) for q in np.quantile([d[name] for d in drawn], [0.025, 0.975])),
        ]
        for name, value in whole.items()
    }


def run(options: argparse.Namespace) -> None:
    done = {(line["study"], line["learner"]) for line in read(LINES)}
    for study in studies():
        if options.only and key_of(study) not in options.only:
            continue
        left = [name for name in LEARNERS if (key_of(study), name) not in done]
        if not left:
            continue
        images = images_of(study, options.data, options.cache)
        described = signatures(study.name, images.classes)
        learned = np.flatnonzero(images.part == "train")
        rows = np.flatnonzero(np.isin(images.part, ("test", "rare")))
        for name in left:
            begun = time.process_time()
            scores = LEARNERS[name](
                images.features[learned], images.labels[learned], described, images.features[rows]
            )
            found = measured(images, scores, rows)
            line = {
                "study": key_of(study),
                "learner": name,
                "unseen_images": [int((images.labels[rows] == c).sum()) for c in images.unseen],
                "classes": len(images.classes),
                "attributes": len(ATTRIBUTES[study.name]),
                "core_seconds": round(time.process_time() - begun, 1),
                **found,
            }
            append(LINES, line)
            print(
                line["study"], name, "between", found["between"], "among all", found["harmonic"], flush=True
            )


# Report


def report(options: argparse.Namespace) -> None:
    lines = {(line["study"], line["learner"]): line for line in read(LINES)}
    rows = [
        "| never seen | learner | which of the two (chance 0.5) | AUROC between them | all classes possible: unseen "
        "| seen | harmonic mean | seen, where only they are possible |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = ("between", "auroc", "among_all_unseen", "among_all_seen", "harmonic", "seen_without_unseen")
    for (study, learner), line in lines.items():
        cells = [f"{line[name][0]:.3f} ({line[name][1]:.3f} to {line[name][2]:.3f})" for name in names]
        rows.append(f"| {study.replace(':', ': ').replace('-', ', ')} | `{learner}` | {' | '.join(cells)} |")
    for learner in LEARNERS:
        own = [
            line for (study, name), line in lines.items() if name == learner and study.startswith("cifar10")
        ]
        if len(own) == len(PAIRS):
            means = [f"{np.mean([line[name][0] for line in own]):.3f}" for name in names]
            rows.append(f"| cifar10: mean of {len(own)} pairs | `{learner}` | {' | '.join(means)} |")
    text = "\n".join(rows)
    print(text)
    if options.page is not None:
        page = options.page.read_text()
        start, rest = page.split(MARK)
        options.page.write_text(f"{start}{MARK}\n\n{text}\n\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the condensed sets")
    parser.add_argument("--only", nargs="+", help="as cifar10:bird-dog")
    parser.add_argument("--cache", type=Path, default=Path("workdirs/few_shot"))
    parser.add_argument("--page", type=Path, help="of report: a page whose table is written again")
    options = parser.parse_args()
    if options.what == "report":
        report(options)
    elif options.data is None:
        parser.error("run needs --data DIR")
    else:
        run(options)


if __name__ == "__main__":
    main()
