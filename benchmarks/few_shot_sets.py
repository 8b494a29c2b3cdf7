"""Data sets of the few-shot study: a rare class set aside, the others split by patient, and cached features of both.

The rare class is not among the training images of the network, and neither is any image of a patient who has it.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imbal_jax.config import Config, Data, load_config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.data.read import read
from imbal_jax.data.splits.patient_split import split_by_group, split_summary
from imbal_jax.methods import METHODS

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.20}
CONFIGS = Path(__file__).parents[1] / "configs"
MOST_RARE = 100  # patients with the rare class that are kept: 20 to learn from, the others are test
TAIL = 100.0  # of CIFAR-10-LT: images of the commonest class to those of the rarest


@dataclass(frozen=True)
class Study:
    """One rare class of one data set. config: of the network. dataset: reads all images, labels one each.

    left_out: classes that are neither old nor rare here, as their own study asks about them and shares the network.
    """

    name: str
    rare: str
    config: str
    folder: str
    changes: Callable[[Config], Config]
    left_out: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """Studies of one network share it and its features."""
        return "-".join([self.name, *sorted({self.rare, *self.left_out})])


def brief(epochs: int, **data: object) -> Callable[[Config], Config]:
    """The config of the set at fewer pixels and epochs, so that a network costs three minutes of one core."""

    def changed(config: Config) -> Config:
        return replace(
            config,
            data=replace(config.data, **data),
            train=replace(config.train, epochs=epochs, evaluations=4),
            methods=(METHODS["ce"],),
        )

    return changed


HAM = brief(5, image_size=64)
XRAY = brief(10, image_size=64)
NIH = brief(24, source="nih", image_size=64)
CIFAR = brief(6, long_tail=None)
STUDIES = (
    Study("ham10000", "df", "ham10000.py", "ham10000", HAM, ("vasc",)),
    Study("ham10000", "vasc", "ham10000.py", "ham10000", HAM, ("df",)),
    Study("kermany", "virus", "chest_xray_kermany.py", "chest_xray_kermany", XRAY),
    Study("nih1000", "Nodule", "chest_xray_kermany.py", "chest_xray_nih1000", NIH),
    Study("nih1000", "Fibrosis", "chest_xray_kermany.py", "chest_xray_nih1000", NIH),
    Study("cifar10_lt", "ship", "cifar10_lt_short.py", "cifar10_jpeg", CIFAR, ("truck",)),
    Study("cifar10_lt", "truck", "cifar10_lt_short.py", "cifar10_jpeg", CIFAR, ("ship",)),
)


@dataclass(frozen=True)
class Features:
    """features float32 [N, D], of the scale at which the training features have a mean square of 1 an entry.

    labels: int [N], the old classes and, last, the rare one. groups: int [N], patients or lesions. part: [N] of
    "train", "validation", "test" (old classes) and "rare". network: how it was trained, and what that took.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    part: np.ndarray
    classes: tuple[str, ...]
    network: dict[str, object]


def features_of(study: Study, data: Path, cache: Path, seed: int) -> Features:
    """Those in ``cache``, or of a network that is trained now. data: the folder of the condensed sets."""
    path = cache / f"{study.network}-seed{seed}.npz"
    if not path.is_file():
        _train(study, data, path, seed)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    names, labels = [str(name) for name in arrays["classes"]], arrays["labels"]
    aside = [names.index(name) for name in study.left_out if name in names]
    kept = ~np.isin(labels, aside)
    order = [name for name in names if name not in study.left_out and name != study.rare] + [study.rare]
    place = np.array([order.index(name) if name in order else -1 for name in names])
    labels, part = place[labels[kept]], arrays["part"][kept].astype(str)
    scale = np.sqrt(np.square(arrays["features"][arrays["part"] == "train"]).mean())
    return Features(
        arrays["features"][kept] / scale,
        labels,
        arrays["groups"][kept],
        part,
        tuple(order),
        {"image_size": int(arrays["size"]), "epochs": float(arrays["epochs"]), "seed": seed}
        | {"seconds": round(float(arrays["seconds"])), "old_auroc": round(float(arrays["auroc"]), 3)},
    )


def _train(study: Study, data: Path, path: Path, seed: int) -> None:
    """Train the network without the rare classes, and store the features of all images."""
    from imbal_jax.engine.parallel import make_mesh
    from imbal_jax.runs.address import RunAddress
    from imbal_jax.runs.restore import restore_deployed
    from imbal_jax.train import fit
    from imbal_jax.training.inference import feature_extractor

    config = study.changes(load_config(CONFIGS / study.config))
    config = replace(
        config, seed=seed, data=replace(config.data, dir=data / study.folder, negative_class=None)
    )
    images, part = _parts(study, config.data)
    old = [name for name in images.classes if name not in (study.rare, *study.left_out)]
    indices = {name: np.flatnonzero(part == name) for name in SHARES}
    learned = replace(images, classes=tuple(old))
    table = split_summary(learned.labels, learned.groups, indices, learned.classes).rows()
    splits = Splits(**{name: learned.take(rows) for name, rows in indices.items()}, table=table)
    workdir, start = path.with_suffix(".run"), time.process_time()
    (result,) = fit(config, workdir, splits, report=False)
    mesh = make_mesh(1)
    deployed = restore_deployed(RunAddress(workdir, "ce", seed), mesh)
    extract = feature_extractor(deployed.network, mesh, 64)
    seen = extract(deployed.variables, deployed.deployment.inputs.statistics, images.images)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        features=seen,
        labels=images.labels,
        groups=np.unique(images.groups, return_inverse=True)[1],
        part=part,
        classes=np.array(images.classes),
        size=config.data.image_size,
        epochs=config.train.epochs,
        seconds=time.process_time() - start,
        auroc=result.table["macro"]["auroc"],
    )
    partial.rename(path)
    shutil.rmtree(workdir)


def _parts(study: Study, options: Data) -> tuple[Dataset, np.ndarray]:
    """All images that take part, the old classes first, and the part of each."""
    whole, _ = read(replace(options, split="patient"), options.dir or Path(), lambda _: None)
    rare = [name for name in (study.rare, *study.left_out) if name]
    data = _one_label(whole, study.rare) if whole.many_labels else whole
    order = [name for name in data.classes if name not in rare] + sorted(rare)
    place = np.array([order.index(name) for name in data.classes])
    data = replace(data, labels=place[data.labels].astype(np.int32), classes=tuple(order))
    first = len(order) - len(rare)
    if study.name == "cifar10_lt":
        return _long_tail(data, first)
    has = data.labels >= first
    chosen: list[np.ndarray] = []
    for c in range(first, len(order)):
        patients = np.unique(data.groups[data.labels == c])
        chosen.append(np.random.default_rng(0).permutation(patients)[:MOST_RARE])
    among = np.isin(data.groups, data.groups[has])
    part = np.where(has & np.isin(data.groups, np.concatenate(chosen)), "rare", "none").astype("U10")
    old = np.flatnonzero(~among)
    for name, rows in split_by_group(data.labels[old], data.groups[old], SHARES, seed=0).items():
        part[old[rows]] = name
    kept = np.flatnonzero(part != "none")
    return data.take(kept), part[kept]


def _one_label(data: Dataset, rare: str) -> Dataset:
    """Of many labels: images of the rare finding, of another one, of none."""
    positive = data.labels == 1
    labels = np.where(positive[:, data.classes.index(rare)], 2, positive.any(axis=1).astype(int))
    return replace(data, labels=labels.astype(np.int32), classes=("no finding", "another finding", rare))


def _long_tail(data: Dataset, first: int) -> tuple[Dataset, np.ndarray]:
    """Old classes with 5,000 to 139 training images, 50 validation and 200 test images each; 220 images a rare class.

    The counts are those of CIFAR-10-LT at 1:100 (Cao et al. 2019), whose two rarest classes are the rare ones here.
    """
    part = np.full(len(data), "none", "U10")
    for c in range(len(data.classes)):
        rows = np.random.default_rng([0, c]).permutation(np.flatnonzero(data.labels == c))
        if c >= first:
            part[rows[:220]] = "rare"
            continue
        part[rows[:200]], part[rows[200:250]] = "test", "validation"
        count = round(len(rows) * 5 / 6 * TAIL ** (-c / (len(data.classes) - 1)))
        part[rows[250 : 250 + count]] = "train"
    kept = np.flatnonzero(part != "none")
    data = data.take(kept)
    return replace(data, groups=np.arange(len(kept))), part[kept]
