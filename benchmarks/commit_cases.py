"""The cases by which two commits are compared: command lines, and the small data that they read.

A case is data. In its words ``{data}`` stands for the folder that ``write_data`` filled, ``{work}`` for an empty
folder of its own, ``{tree}`` for the tree under test, ``{real}`` for the folder of real data sets.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ONE_LABEL = [
    "ce", "weighted_ce", "sqrt_weighted_ce", "median_frequency", "effective_number", "bayesian_ce", "focal",
    "weighted_focal", "class_balanced_focal", "poly1", "logit_adjusted", "balanced_softmax",
    "vector_scaling", "class_dependent_temperature", "ldam", "equalization", "influence_balanced",
    "label_aware_smoothing", "weighted_ce_warmup", "ce_drw", "inverse_drw", "focal_drw", "ldam_drw",
    "cdt_drw", "ce_drs", "deferred_logit_adjusted", "stratified", "sqrt_sampling", "progressive",
    "reversed", "repeat_factor", "undersample", "undersample_fixed", "oversample", "perturbed_oversample",
    "hard_negatives", "mixup", "cutmix", "remix", "remix_drw", "balanced_mixup", "cmo", "sup_con",
    "balanced_contrastive", "crt", "lws", "tau_norm", "nearest_mean", "mislas", "smote",
    "smoothed_bootstrap", "post_hoc_logit_adjusted", "threshold_moving", "stratified_corrected",
    "saerens_em", "auc_margin", "pairwise_auc", "partial_auc", "smooth_ap",
]  # fmt: skip
"""The catalogue's methods for one label an image; with MANY_ONLY they are all 62."""

MANY_ONLY = ["asymmetric", "distribution_balanced", "class_balanced_sigmoid_focal"]
NOT_FOR_MANY = {
    "bayesian_ce", "class_balanced_focal", "poly1", "logit_adjusted", "balanced_softmax", "vector_scaling",
    "class_dependent_temperature", "ldam", "equalization", "influence_balanced", "label_aware_smoothing",
    "ldam_drw", "cdt_drw", "deferred_logit_adjusted", "undersample", "sup_con", "balanced_contrastive",
    "crt", "lws", "tau_norm", "nearest_mean", "mislas", "smote", "smoothed_bootstrap",
    "post_hoc_logit_adjusted", "threshold_moving", "stratified_corrected", "saerens_em",
}  # fmt: skip
MANY_LABELS = [name for name in ONE_LABEL if name not in NOT_FOR_MANY] + MANY_ONLY
GROUP = 15  # methods in one command
BATCH = 16  # 160 images to train on: ten steps an epoch


@dataclass(frozen=True)
class Case:
    """What is run, one command after the other, in an empty folder.

    commands: words of ``imbal-jax``. devices: simulated ones. killed_at: the first command is killed when its
    metrics.jsonl has so many lines, and then run again. differs: announced to give other numbers; only that it runs,
    with a finite loss, is checked. twin: two folders of the case whose outputs have to be equal to the bit. like: the
    case, in the same tree, whose parameters and scores it has to give to within ``LIKE``.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    devices: int = 1
    killed_at: int = 0
    differs: bool = False
    twin: tuple[str, str] | None = None
    like: str = ""

    @property
    def needs_real_data(self) -> bool:
        return any("{real}" in word or "{data}/nih_" in word for words in self.commands for word in words)

    @property
    def definition(self) -> str:
        """What its outputs depend on, besides the tree and the data."""
        return repr((self.commands, self.devices, self.killed_at))


LIKE = 1e-5  # float32, a dozen steps of plain gradient descent


def make_cases() -> list[Case]:
    return [
        *_catalogue(),
        *_data_sources(),
        *_long_runs(),
        *_networks(),
        *_devices(),
        _resumed(),
        *_finished(),
    ]


def _train(config: str, methods: str, *options: str, steps: int = 5, folder: str = "run") -> tuple[str, ...]:
    path = config if "/" in config else f"{{data}}/{config}.py"
    return (
        *("train", path, "--workdir", f"{{work}}/{folder}", "--methods", *methods.split()),
        *(("--train.epochs", str(steps / 10)) if steps else ()),
        *options,
    )


def _catalogue() -> list[Case]:
    """Every method, five steps; deferred ones switch at the fourth."""
    cases = []
    for config, names in (("one_label", ONE_LABEL), ("many_labels", MANY_LABELS)):
        for place, start in enumerate(range(0, len(names), GROUP), 1):
            command = _train(config, " ".join(names[start : start + GROUP]))
            cases.append(Case(f"methods_{config}_{place}", (command,)))
    return cases


def _data_sources() -> list[Case]:
    quickstart = _train("{tree}/configs/quickstart.py", "ce stratified", steps=0)
    small = ("--data.phantom-images", "600", "--data.phantom-imbalance", "15", "--train.devices", "1")
    nih = ("--data.source", "nih", "--data.dir", "{real}/chest_xray_nih1000", "--data.image-size", "32")
    masks = ("--data.dir", "{data}/nih_masks", "--data.image-size", "32")
    ingest = (
        *("ingest", "{data}/one_label", "--labels", "{data}/one_label/labels.csv", "--out", "{work}/records"),
        *("--size", "16", "--key-file", "{data}/key", "--workers", "1"),
    )
    records = ("--data.source", "records", "--data.dir", "{work}/records", "--data.workers", "2")
    return [
        Case("quickstart_600", ((*quickstart, *small, "--train.epochs", "3", "--train.evaluations", "3"),)),
        Case("nih1000", (_train("many_labels", "ce weighted_ce distribution_balanced", *nih, steps=4),)),
        *(
            Case(
                f"nih_masks_{policy}",
                (
                    _train(
                        "many_labels",
                        "weighted_ce asymmetric auc_margin",
                        *masks,
                        *("--data.uncertain", policy),
                        steps=10,
                    ),
                ),
            )
            for policy in ("ignore", "soft")
        ),
        Case("records_2_workers", (ingest, _train("one_label", "stratified mixup ce_drs", *records))),
        Case(
            "fed_by_the_host", (_train("one_label", "stratified cmo ce_drs sup_con", "--train.no-resident"),)
        ),
    ]


def _long_runs() -> list[Case]:
    """Twenty steps and more, over every switch; second stages on a first one that was trained."""
    return [
        Case(name, (_train("one_label", methods, *options, steps=20),))
        for name, methods, *options in (
            ("second_stages", "crt tau_norm smote lws"),
            ("ldam_drw", "ldam_drw influence_balanced progressive"),
            ("mixing", "mixup cmo remix_drw"),
            ("auc_margin", "auc_margin smooth_ap"),
            ("sup_con", "sup_con balanced_contrastive"),
            (
                "decisions",
                "stratified ce",
                *("--select", "specificity where sensitivity >= 0.5", "--deploy.calibration", "temperature"),
                *("--deploy.points", "youden", "dark: sensitivity >= 0.9", "--train.mirror-scores"),
                *("--optim.label-smoothing", "0.1", "--optim.swa-start", "0.5", "--data.imbalance", "12"),
                *("--optim.schedule", "steps", "--train.patience", "2", "--train.evaluations", "5"),
            ),
        )
    ]


def _networks() -> list[Case]:
    options = (
        *("--model.norm", "batch", "--model.dtype", "bfloat16", "--optim.ema-decay", "0.9"),
        *("--optim.warmup", "0.1", "--optim.weight-decay", "0.05"),
    )
    dropout = ("--model.dropout", "0.3")
    names = "weighted_ce stratified"
    return [
        Case("batch_norm_bf16_ema", (_train("one_label", names, *options, steps=20),)),
        Case(
            "batch_norm_bf16_ema_dropout",
            (_train("one_label", names, *options, *dropout, steps=20),),
            differs=True,
        ),
        Case("dropout_many_labels", (_train("many_labels", "ce", *dropout, steps=10),), differs=True),
    ]


def _devices() -> list[Case]:
    """Three backends on one, two and four devices: equal runs, as plain gradient descent shows (Adam would hide a
    gradient that is twice too large)."""
    cases = []
    for backend in ("shard_map", "pmap", "jit"):
        for devices in (1, 2, 4):
            options = ("--train.backend", backend, "--train.devices", str(devices))
            command = _train("one_label", "auc_margin mixup", *options, *_SGD, steps=10)
            like = "" if (backend, devices) == ("shard_map", 1) else "backend_shard_map_1"
            cases.append(Case(f"backend_{backend}_{devices}", (command,), devices=devices, like=like))
    return cases


_SGD = ("--optim.optimizer", "sgd", "--optim.learning-rate", "0.02")


def _resumed() -> Case:
    def command(folder: str) -> tuple[str, ...]:
        options = ("--train.evaluations", "10", "--optim.ema-decay", "0.9")
        return _train("one_label", "mixup", *options, steps=60, folder=folder)

    return Case(
        "killed_and_resumed",
        (command("killed"), command("unbroken")),
        killed_at=14,
        twin=("unbroken", "killed"),
    )


def _finished() -> list[Case]:
    """Evaluate, compare, predict and export on finished runs, of one label and of many."""
    run, others = "{work}/run", ("--data.dir", "{data}/others")
    predict = ("predict", f"{run}/ce", "{data}/others", "--out", "{work}/predictions.csv")
    export = ("export", f"{run}/ce", "--out", "{work}/export")
    validation = ("evaluate", run, "--split", "validation", "--out", "{work}/validation")
    return [
        Case(
            "finished_one_label",
            (
                _train("one_label", "ce stratified_corrected", steps=20),
                ("evaluate", run, "--deploy.calibration", "vector"),
                ("evaluate", run, *others, "--out", "{work}/others"),
                validation,
                ("compare", f"{run}/ce", f"{run}/stratified_corrected", "--json", "{work}/comparison.json"),
                predict,
                export,
            ),
        ),
        Case("finished_many_labels", (_train("many_labels", "ce", steps=20), validation, predict, export)),
    ]


# Data

CONFIG = '''"""Written by benchmarks/commit_cases.py."""

from pathlib import Path

from imbal_jax.config import Config, Data, Model, Optim, Train
try:
    from imbal_jax.transforms.augment import Augment
except ImportError:
    from imbal_jax.augment import Augment


def get_config() -> Config:
    folder = Path(__file__).parent / "{folder}"
    return Config(
        name="compared",
        data=Data(source="folder", dir=folder, image_size=16, negative_class={negative!r}),
        model=Model(name="cnn", options={{"patch": 2, "width": 4, "stages": 2}}),
        optim=Optim(learning_rate=1e-2),
        train=Train(epochs=0.5, batch_size={batch}, evaluations=2, steps_per_dispatch=2, devices=1),
        augment=Augment(flip=True, shift=0.1, rotation=10, zoom=0.1, brightness=0.1, contrast=0.2),
    )
'''
PATIENTS = {"train": 80, "validation": 30, "test": 30}


def write_data(folder: Path, real: Path | None) -> None:
    """Two configs, pictures with one label and with many, other pictures, a key, NIH images with masked labels."""
    folder.mkdir(parents=True)
    for name, negative in (("one_label", "normal"), ("many_labels", None)):
        text = CONFIG.format(folder=name, negative=negative, batch=BATCH)
        (folder / f"{name}.py").write_text(text)
        write_pictures(folder / name, PATIENTS, seed=0, many_labels=name == "many_labels")
    write_pictures(folder / "others", {"test": 40}, seed=1, many_labels=False)
    (folder / "key").write_text("5a" * 32 + "\n")
    (folder / "key").chmod(0o600)
    if real is not None:
        write_masked_nih(folder / "nih_masks", real / "chest_xray_nih1000" / "nih1000_64.npz")


def write_pictures(folder: Path, patients: dict[str, int], *, seed: int, many_labels: bool) -> None:
    """16 x 16 pictures, two of each patient: a bright or a dark square is rare. Some of many labels are unknown."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    rows = [["file", "patient", "split", *(("bright", "dark", "noisy") if many_labels else ("label",))]]
    number = 0
    for split, count in patients.items():
        for place in range(count):
            bright, dark = place % 6 == 0, place % 10 == (0 if many_labels else 3)
            noisy = place % 4 == 1
            number += 1
            for view in range(2):
                pixels = rng.normal(110, 22 if noisy else 10, (16, 16))
                pixels[4:9, 4:9] += 70 * bright
                pixels[9:13, 8:14] -= 60 * dark
                name = f"{number}_{view}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
                unknown = {3: "", 5: "-1"}.get(place % 7)
                one = ["bright" if bright else "dark" if dark else "normal"]
                many = [str(int(bright)), str(int(dark)) if unknown is None else unknown, str(int(noisy))]
                rows.append([name, f"p{number}", split, *(many if many_labels else one)])
    _write_table(folder / "labels.csv", rows)


def write_masked_nih(folder: Path, source: Path) -> None:
    """300 images of 32 x 32 with the six commonest findings; one label in ten is missing, one in 20 uncertain."""
    with np.load(source) as arrays:
        images, labels = arrays["images"][:300], arrays["labels"][:300].astype(int)
        classes, patients = arrays["classes"], arrays["patient_id"][:300]
    kept = np.sort(np.argsort(-labels.sum(axis=0), kind="stable")[:6])
    chance = np.random.default_rng(0).random((len(images), len(kept)))
    folder.mkdir()
    rows = [["file", "patient", *map(str, classes[kept])]]
    small = images.reshape(-1, 32, 2, 32, 2).mean(axis=(2, 4)).astype(np.uint8)
    for place, pixels in enumerate(small):
        Image.fromarray(pixels).save(folder / f"{place}.png")
        cells = [
            "" if c < 0.1 else "-1" if c < 0.15 else str(v)
            for c, v in zip(chance[place], labels[place, kept], strict=True)
        ]
        rows.append([f"{place}.png", f"p{patients[place]}", *cells])
    _write_table(folder / "labels.csv", rows)


def _write_table(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
