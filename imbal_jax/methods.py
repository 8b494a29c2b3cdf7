"""A balancing method is a value: batch composition, class weights, loss, perturbation of what repeats."""

import difflib
from dataclasses import dataclass, fields, replace
from typing import Literal

from imbal_jax.errors import InputError
from imbal_jax.priors import SCHEMES
from imbal_jax.sampling import COMPOSITIONS

LOSSES = ("cross_entropy", "bayesian", "focal", "logit_adjusted", "balanced_softmax")
"""Names a ``Method`` may give; which task has which is said in tasks.py."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One remedy for imbalance, or several combined; the trainer reads it and never asks for its name.

    composition: what a batch holds: natural, balanced, sqrt, reversed, progressive, repeat_factor, or a share
        for each class.
    resample: which items the batches are drawn from: all (none), a fixed random subset with as many of each
        class as the rarest has (under), or copies until every class has as many as the commonest (over).
    weights: scheme of ``priors.class_weights`` on the class counts of the training split; for many labels,
        that scheme's weight on the positives. beta, power: its parameters.
    normalize: the weighted sum of losses is divided by the sum of the weights (as PyTorch does) or by the
        number of items (as Cui et al. do).
    loss: cross_entropy, bayesian (each class present in the batch has equal say), focal, logit_adjusted,
        balanced_softmax. The last two correct for the priors of the batches as they are drawn, not of the
        data: with a balanced composition nothing is left to correct, and they are plain cross-entropy.
    gamma: of focal. tau: of logit_adjusted.
    perturb_repeats: an image that is drawn r times as often as one of the commonest class is perturbed
        1 - 1/r further than the configured augmentation (twice as far in the limit).
    """

    name: str
    summary: str = ""
    paper: str = ""
    composition: str | tuple[float, ...] = "natural"
    resample: Literal["none", "under", "over"] = "none"
    weights: str = "none"
    beta: float = 0.9999
    power: float = 1.0
    normalize: Literal["weights", "count"] = "weights"
    loss: str = "cross_entropy"
    gamma: float = 2.0
    tau: float = 1.0
    perturb_repeats: bool = False

    def __post_init__(self) -> None:
        allowed = {
            "resample": ("none", "under", "over"),
            "weights": SCHEMES,
            "normalize": ("weights", "count"),
            "loss": LOSSES,
        }
        if isinstance(self.composition, str):
            allowed["composition"] = COMPOSITIONS
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise InputError(
                    f"method {self.name}: {field} is {getattr(self, field)!r}, allowed are {', '.join(values)}"
                )
        if self.resample != "none" and self.composition != "natural":
            raise InputError(
                f"method {self.name}: resample={self.resample} already balances, composition must be natural"
            )


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="ce",
            summary="Plain cross-entropy on shuffled data: the baseline every remedy has to beat.",
        ),
        Method(
            name="weighted_ce",
            weights="inverse",
            summary="Each class weighs the same in the loss; no image is dropped or repeated.",
            paper="King and Zeng, Logistic Regression in Rare Events Data, 2001",
        ),
        Method(
            name="bayesian_ce",
            loss="bayesian",
            normalize="count",
            summary="Cross-entropy weighted by the priors of the mini-batch, which bounds the largest weight; "
            "wants large batches and a smaller learning rate.",
            paper="Dalyac, Shanahan and Kelly, Tackling Class Imbalance with Deep Convolutional Neural "
            "Networks, 2014",
        ),
        Method(
            name="effective_number",
            weights="effective",
            summary="Weights between none and inverse, for classes of thousands where images overlap.",
            paper="Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019",
        ),
        Method(
            name="focal",
            loss="focal",
            summary="Easy examples count less; made for detection, weak alone on long tails.",
            paper="Lin et al., Focal Loss for Dense Object Detection, ICCV 2017",
        ),
        Method(
            name="logit_adjusted",
            loss="logit_adjusted",
            summary="Logits are moved by the log priors while training: bounded gradients, a good first choice "
            "from 1:1000 up.",
            paper="Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021",
        ),
        Method(
            name="balanced_softmax",
            loss="balanced_softmax",
            summary="The softmax weighted by class counts; logit adjustment at tau 1.",
            paper="Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020",
        ),
        Method(
            name="stratified",
            composition="balanced",
            summary="Every batch holds as many images of each class, and every image is used: the plain, strong "
            "choice for screening.",
            paper="Shen, Lin and Huang, Relay Backpropagation (class-aware sampling), ECCV 2016",
        ),
        Method(
            name="undersample",
            resample="under",
            summary="As many images of each class as the rarest has, the rest left out for good: a baseline.",
            paper="Japkowicz and Stephen, The Class Imbalance Problem, 2002",
        ),
        Method(
            name="oversample",
            resample="over",
            summary="Rare images are copied until the classes are equal, then shuffled: batches vary.",
            paper="Japkowicz and Stephen, The Class Imbalance Problem, 2002",
        ),
        Method(
            name="perturbed_oversample",
            resample="over",
            perturb_repeats=True,
            summary="Oversampling whose copies are perturbed further the more often they repeat.",
            paper="Lee, Noisy Replication in Skewed Binary Classification, 2000",
        ),
    )
}


def find_method(text: str) -> Method:
    """The method called ``text``, or a combination written as ``loss=focal,composition=balanced,weights=inverse``.

    A combination may begin with a name to start from: ``stratified,loss=focal``. Raises InputError for an
    unknown name, field or value, saying what is allowed.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    base = Method(name=text)
    if parts and "=" not in parts[0]:
        name = parts.pop(0)
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise InputError(f"unknown method {name!r}: {hint}allowed are {', '.join(METHODS)}")
        base = METHODS[name]
    if not parts:
        if not text.strip():
            raise InputError(f"no method given: allowed are {', '.join(METHODS)}")
        return base
    settable = {f.name: f.type for f in fields(Method) if f.name not in ("name", "summary", "paper")}
    changes: dict[str, object] = {}
    for part in parts:
        key, _, value = part.partition("=")
        key = key.strip()
        if key not in settable:
            raise InputError(f"unknown field {key!r} in method {text!r}: allowed are {', '.join(settable)}")
        changes[key] = _parse(text, key, value.strip(), settable[key])
    return replace(base, name=text.replace(" ", ""), summary=f"Combination: {', '.join(parts)}.", **changes)


def _parse(text: str, key: str, value: str, kind: object) -> object:
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        if kind is float:
            return float(value)
    except (KeyError, ValueError):
        raise InputError(
            f"{key}={value} in method {text!r}: expected {'true or false' if kind is bool else 'a number'}"
        ) from None
    if key == "composition" and ":" in value:
        try:
            return tuple(float(share) for share in value.split(":"))
        except ValueError:
            raise InputError(
                f"composition={value} in method {text!r}: expected shares such as 3:1:1"
            ) from None
    return value
