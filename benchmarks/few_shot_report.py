"""The ledger of the few-shot study, and its tables."""

import json
import sys
from pathlib import Path

import numpy as np
from few_shot_intervals import METRICS, Scored, interval, replicates, verdict
from few_shot_sets import STUDIES, Study
from ledger import read

SHOTS = (5, 10, 20)
MARK = "<!-- the rest of this page is written by benchmarks/few_shot.py report --page -->"
UNITS = {"ham10000": "lesions", "cifar10_lt": "images"}  # of the other sets, patients


def key_of(study: Study) -> str:
    return f"{study.name}:{study.rare}"


def scores_path(cache: Path, study: str, draw: int, shots: int, head: str) -> Path:
    return cache / "scores" / study.replace(":", "-") / f"{head}-shots{shots}-draw{draw}.npz"


def read_ledger(path: Path) -> list[dict]:
    """The lines of cells that are whole, the last of each."""
    lines = (line for line in read(path) if "study" in line)
    cells = {(line["study"], line["draw"], line["shots"], line["head"]): line for line in lines}
    return list(cells.values())


def report(path: Path, cache: Path, most: int, out: Path, page: Path | None = None) -> None:
    """Print the tables of every study and number of shots, over the draws below ``most`` that every head has.

    path: the ledger. cache: has the scores. out: receives the tables as JSON. page: its part behind ``MARK`` is
    written again, a table a study.
    """
    ledger, summary = read_ledger(path), []
    for study in map(key_of, STUDIES):
        for shots in SHOTS:
            lines = [line for line in ledger if (line["study"], line["shots"]) == (study, shots)]
            heads = list(dict.fromkeys(line["head"] for line in lines))
            draws = [d for d in range(most) if sum(line["draw"] == d for line in lines) == len(heads) > 0]
            paths = {(d, h): scores_path(cache, study, d, shots, h) for d in draws for h in heads}
            if not draws or not all(scores.is_file() for scores in paths.values()):
                continue
            scored = [{h: _read(paths[d, h]) for h in heads} for d in draws]
            summary.append(_summary(study, shots, lines, replicates(scored, lines[0]["classes"]), len(draws)))
            _show(summary[-1])
    if not summary:
        sys.exit(f"no study of {path} has its scores in {cache}: run it first")
    out.write_text(json.dumps(summary, indent=1) + "\n")
    if page is not None:
        before = page.read_text().partition(MARK)[0]
        page.write_text(before + MARK + "\n" + "\n".join(_page(summary)) + "\n")


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


def _page(summary: list[dict]) -> list[str]:
    """A table a study: its AUROC for every number of shots, the rest for the most."""
    lines: list[str] = []
    for study in dict.fromkeys(row["study"] for row in summary):
        rows = [row for row in summary if row["study"] == study]
        last, shots = rows[-1], [row["shots"] for row in rows]
        network, most = last["network"], shots[-1]
        name, rare = study.split(":")
        unit = UNITS.get(name, "patients")
        lines += [
            "",
            f"### {rare} in {name}",
            "",
            f"{last['draws']} draws. Network: {network['image_size']} pixels, {network['epochs']:.0f} epochs, "
            f"{network['seconds']} core-seconds, macro AUROC of the old",
            f"classes {network['old_auroc']}. Test: {last['test_rare']} images of {last['test_rare_patients']} "
            f"{unit} with the class and {last['test_old']:,} others (first draw).",
            "",
        ]
        headings = ["head", *[f"AUROC, {n} {unit}" for n in shots], f"less the linear probe's, {most}"]
        headings += [f"average precision, {most}", f"less the linear probe's, {most}"]
        headings += [f"balanced accuracy, {most}", f"change of the old classes, {most}"]
        lines += ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
        for head, found in last["heads"].items():
            cells = [_with_interval(row["heads"][head]["auroc"]) for row in rows]
            cells += [_difference(found["auroc"])]
            cells += [_with_interval(found["average_precision"]), _difference(found["average_precision"])]
            cells += [f"{found['balanced_accuracy']['mean']:.3f}", f"{found['old_change']['mean']:+.3f}"]
            lines.append(f"| `{head}` | " + " | ".join(cells) + " |")
    return lines
