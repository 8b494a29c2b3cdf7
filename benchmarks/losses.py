"""Value and gradient of every loss beside the fastest peer that has it, in one run.

    python benchmarks/losses.py [--repeats 15] [--only ldam focal ...]

One label: 4,096 images of 1,000 classes; many labels: 64 images of 14; ranking: 4,096 scores (Smooth-AP 512);
contrast: 512 features of 128. Float32, the mean over the batch, its gradient by the logits (scores, features).
Peers are PyTorch eager on all cores, as the papers' code spells the loss out, and optax where it has the loss; of
two, the faster counts. Ours and the peers are called in turn, so that whatever else the machine does hits all.
Medians of the calls go to benchmarks/results/losses.json; a ratio above 1 is ours faster.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from environment import environment
from jax.tree_util import Partial

from imbal_jax import losses

RNG = np.random.default_rng(0)
B, C = 4096, 1000
COUNTS = np.floor(1280 * 100.0 ** (-np.arange(C) / (C - 1))).astype(np.float32)
PRIORS = COUNTS / COUNTS.sum()
LOGITS = RNG.normal(size=(B, C)).astype(np.float32)
LABELS = RNG.choice(C, B, p=PRIORS.astype(np.float64) / PRIORS.astype(np.float64).sum())
FEATURES = np.abs(RNG.normal(size=(B, 512))).astype(np.float32)
WEIGHTS = (PRIORS.mean() / PRIORS).astype(np.float32)

B2, L = 64, 14
LOGITS2 = RNG.normal(size=(B2, L)).astype(np.float32)
TARGETS2 = (RNG.random((B2, L)) < 0.1).astype(np.float32)
COUNTS2, TOTAL2 = np.linspace(50, 5000, L).astype(np.float32), 50_000.0

SCORES = RNG.normal(size=B).astype(np.float32)
BINARY = (RNG.random(B) < 0.05).astype(np.float32)
UNIT = RNG.normal(size=(512, 128)).astype(np.float32)
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)
CLASSES = RNG.integers(0, 20, 512)

T = {name: torch.from_numpy(np.asarray(value)) for name, value in globals().copy().items() if name.isupper()
     and isinstance(value, np.ndarray)}  # fmt: skip

Loss = Callable[[Any], Any]


def torch_ib(z: torch.Tensor) -> torch.Tensor:
    p = z.softmax(1)
    influence = (p - F.one_hot(T["LABELS"], C)).abs().sum(1) * T["FEATURES"].abs().sum(1)
    return (F.cross_entropy(z, T["LABELS"], reduction="none") * 1000 / (influence.detach() + 1e-3)).mean()


def torch_ldam(z: torch.Tensor) -> torch.Tensor:
    margins = 0.5 * (COUNTS.min() / T["COUNTS"]) ** 0.25
    index = torch.zeros_like(z, dtype=torch.bool)
    index.scatter_(1, T["LABELS"][:, None], True)
    return F.cross_entropy(30 * torch.where(index, z - margins[T["LABELS"]][:, None], z), T["LABELS"])


def torch_focal(z: torch.Tensor) -> torch.Tensor:
    ce = F.cross_entropy(z, T["LABELS"], reduction="none")
    return ((1 - torch.exp(-ce)) ** 2 * ce).mean()


def torch_equalization(z: torch.Tensor) -> torch.Tensor:
    onehot = F.one_hot(T["LABELS"], C).float()
    spared = (torch.rand_like(z) < 0.9).float() * (T["PRIORS"] < 0.0005).float()
    share = 1 - spared * (1 - onehot)
    return F.cross_entropy(z + torch.log(share + 1e-12), T["LABELS"])


def torch_smoothing(z: torch.Tensor) -> torch.Tensor:
    n = T["COUNTS"]
    epsilon = (0.1 + 0.3 * torch.sin((n - n.min()) * np.pi / (2 * (n.max() - n.min()))))[T["LABELS"]]
    log_p = z.log_softmax(1)
    picked = -log_p.gather(1, T["LABELS"][:, None])[:, 0]
    return ((1 - epsilon) * picked - epsilon * log_p.mean(1)).mean()


def torch_poly(z: torch.Tensor) -> torch.Tensor:
    ce = F.cross_entropy(z, T["LABELS"], reduction="none")
    return (ce + 1 - torch.exp(-ce)).mean()


def torch_sigmoid_focal(z: torch.Tensor, targets: torch.Tensor, weights: Any = 1.0) -> torch.Tensor:
    bce = F.binary_cross_entropy_with_logits(z, targets, reduction="none")
    return (weights * (1 - torch.exp(-bce)) ** 2 * bce).mean()


def torch_cb_focal(z: torch.Tensor) -> torch.Tensor:
    effective = 1 / (1 - 0.9999 ** T["COUNTS"])
    weights = (effective * C / effective.sum())[T["LABELS"]][:, None]
    onehot = F.one_hot(T["LABELS"], C).float()
    bce = F.binary_cross_entropy_with_logits(z, onehot, reduction="none")
    return (weights * (1 - torch.exp(-bce)) ** 0.5 * bce).sum() / B


def torch_asymmetric(z: torch.Tensor) -> torch.Tensor:
    y, s = T["TARGETS2"], z.sigmoid()
    below = (1 - s + 0.05).clamp(max=1)
    terms = y * torch.log(s.clamp(min=1e-8)) + (1 - y) * torch.log(below.clamp(min=1e-8))
    weight = (1 - s * y - below * (1 - y)) ** (1 * y + 4 * (1 - y))
    return -(terms * weight).mean()


def torch_distribution_balanced(z: torch.Tensor) -> torch.Tensor:
    y, n = T["TARGETS2"], T["COUNTS2"]
    r = (1 / n) / (y / n).sum(1, keepdim=True).clamp(min=1e-12)
    weight = 0.1 + torch.sigmoid(10 * (r - 0.2))
    moved = z - 0.05 / 2 * torch.log(TOTAL2 / n - 1) * -1
    scaled = moved * y + 2 * moved * (1 - y)
    bce = F.binary_cross_entropy_with_logits(scaled, y, reduction="none") * (y + (1 - y) / 2)
    p_t = torch.where(y == 1, moved.sigmoid(), 1 - (2 * moved).sigmoid())
    return (weight * (1 - p_t) ** 2 * bce).mean()


def torch_pairwise(s: torch.Tensor) -> torch.Tensor:
    positive, negative = s[T["BINARY"] == 1], s[T["BINARY"] == 0]
    return ((1 - (positive[:, None] - negative[None])) ** 2).mean()


def torch_partial(s: torch.Tensor) -> torch.Tensor:
    positive, negative = s[T["BINARY"] == 1], s[T["BINARY"] == 0]
    hardest = negative.topk(max(1, round(0.1 * len(negative)))).values
    return F.relu(1 - (positive[:, None] - hardest[None])).square().mean()


def torch_smooth_ap(s: torch.Tensor) -> torch.Tensor:
    y = T["BINARY"][:512] == 1
    above = torch.sigmoid((s[None] - s[:, None]) / 0.01)
    above = above * (1 - torch.eye(len(s)))
    rows = above[y]
    return 1 - ((1 + rows[:, y].sum(1)) / (1 + rows.sum(1))).mean()


def torch_sup_con(z: torch.Tensor) -> torch.Tensor:
    same = (T["CLASSES"][:, None] == T["CLASSES"][None]).float()
    same.fill_diagonal_(0)
    logits = (z @ z.T / 0.1).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
    return -((logits.log_softmax(1) * same).sum(1) / same.sum(1).clamp(min=1)).mean()


def torch_auc_margin(s: torch.Tensor) -> torch.Tensor:
    y = T["BINARY"] == 1
    p, n = s[y], s[~y]
    return ((p - 0.3) ** 2).mean() + ((n - 0.2) ** 2).mean() + 2 * 0.5 * (1 + n.mean() - p.mean()) - 0.25


def of(loss: Callable[..., Any], *arguments: Any, **options: Any) -> Loss:
    """A loss in JAX as a function of the logits; the other arguments are given at run time, as in training:
    of labels known when compiling, XLA would compute ahead what it can."""

    def mean(*given: Any) -> jax.Array:
        return jnp.mean(loss(given[-1], *given[:-1], **options))

    return Partial(mean, *map(jnp.asarray, arguments))


ONE = partial(lambda loss, *rest, **o: of(loss, LABELS, *rest, **o))
MANY = partial(lambda loss, *rest, **o: of(loss, TARGETS2, *rest, **o))
LOG_PRIORS = T["PRIORS"].log()
TEMPERATURE = (COUNTS.max() / T["COUNTS"]) ** 0.15

CASES: dict[str, tuple[np.ndarray, Loss, dict[str, Loss]]] = {
    "cross_entropy": (LOGITS, ONE(losses.cross_entropy), {
        "torch": lambda z: F.cross_entropy(z, T["LABELS"]),
        "optax": of(optax.softmax_cross_entropy_with_integer_labels, LABELS)}),
    "weighted_cross_entropy": (LOGITS, ONE(losses.weighted_cross_entropy, WEIGHTS), {
        "torch": lambda z: F.cross_entropy(z, T["LABELS"], T["WEIGHTS"])}),
    "bayesian_cross_entropy": (LOGITS, ONE(losses.bayesian_cross_entropy, PRIORS), {
        "torch": lambda z: F.cross_entropy(z, T["LABELS"], 1 / (C * T["PRIORS"]), reduction="sum") / B}),
    "focal": (LOGITS, ONE(losses.focal), {"torch": torch_focal}),
    "logit_adjusted": (LOGITS, ONE(losses.logit_adjusted, PRIORS), {
        "torch": lambda z: F.cross_entropy(z + LOG_PRIORS, T["LABELS"])}),
    "balanced_softmax": (LOGITS, ONE(losses.balanced_softmax, COUNTS), {
        "torch": lambda z: F.cross_entropy(z + T["COUNTS"].log(), T["LABELS"])}),
    "vector_scaling": (LOGITS, ONE(losses.vector_scaling, COUNTS), {
        "torch": lambda z: F.cross_entropy(z / TEMPERATURE + LOG_PRIORS, T["LABELS"])}),
    "class_dependent_temperature": (LOGITS, ONE(losses.class_dependent_temperature, COUNTS), {
        "torch": lambda z: F.cross_entropy(z / TEMPERATURE, T["LABELS"])}),
    "ldam": (LOGITS, ONE(losses.ldam, COUNTS), {"torch": torch_ldam}),
    "poly1": (LOGITS, ONE(losses.poly1), {
        "torch": torch_poly,
        "optax": of(lambda z, y: optax.losses.poly_loss_cross_entropy(
            z, jax.nn.one_hot(y, C), epsilon=1.0), LABELS)}),
    "equalization": (LOGITS, ONE(losses.equalization, COUNTS, jax.random.key(0)), {
        "torch": torch_equalization}),
    "influence_balanced": (LOGITS, ONE(losses.influence_balanced, FEATURES), {"torch": torch_ib}),
    "label_aware_smoothing": (LOGITS, ONE(losses.label_aware_smoothing, COUNTS), {"torch": torch_smoothing}),
    "class_balanced_focal": (LOGITS, ONE(losses.class_balanced_focal, COUNTS), {"torch": torch_cb_focal}),
    "binary_cross_entropy": (LOGITS2, MANY(losses.binary_cross_entropy), {
        "torch": lambda z: F.binary_cross_entropy_with_logits(z, T["TARGETS2"]),
        "optax": of(optax.sigmoid_binary_cross_entropy, TARGETS2)}),
    "sigmoid_focal": (LOGITS2, MANY(losses.sigmoid_focal), {
        "torch": lambda z: torch_sigmoid_focal(z, T["TARGETS2"]),
        "optax": of(optax.losses.sigmoid_focal_loss, TARGETS2)}),
    "asymmetric": (LOGITS2, MANY(losses.asymmetric), {"torch": torch_asymmetric}),
    "distribution_balanced": (LOGITS2, MANY(losses.distribution_balanced, COUNTS2, TOTAL2), {
        "torch": torch_distribution_balanced}),
    "class_balanced_sigmoid_focal": (LOGITS2, MANY(losses.class_balanced_sigmoid_focal, COUNTS2), {
        "torch": lambda z: torch_sigmoid_focal(z, T["TARGETS2"], 1 / (1 - 0.9999 ** T["COUNTS2"]))}),
    "auc_margin": (SCORES, of(losses.auc_margin, BINARY, 0.3, 0.2, 0.5), {"torch": torch_auc_margin}),
    "pairwise_auc": (SCORES, of(losses.pairwise_auc, BINARY), {"torch": torch_pairwise}),
    "partial_auc": (SCORES, of(losses.partial_auc, BINARY), {"torch": torch_partial}),
    "smooth_ap": (SCORES[:512], of(losses.smooth_ap, BINARY[:512]), {"torch": torch_smooth_ap}),
    "sup_con": (UNIT, of(losses.sup_con, CLASSES), {"torch": torch_sup_con}),
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--only", nargs="*", default=None)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "losses.json")
    options = options.parse_args()

    result = {**environment(), "torch": torch.__version__, "repeats": options.repeats, "ms": {}}
    print(f"{result['processor']}, {result['cores']} cores; median ms of value and gradient")
    print(f"{'':30}{'ours':>10}{'torch':>10}{'optax':>10}{'ratio':>8}")
    for name, (inputs, ours, peers) in CASES.items():
        if options.only is not None and name not in options.only:
            continue
        row = measured(inputs, ours, peers, options.repeats)
        row["ratio"] = min(value for key, value in row.items() if key != "ours") / row["ours"]
        result["ms"][name] = row
        print(f"{name:30}" + "".join(
            f"{row[key]:10.3f}" if key in row else f"{'':>10}" for key in ("ours", "torch", "optax")
        ) + f"{row['ratio']:8.2f}")  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


def measured(inputs: np.ndarray, ours: Loss, peers: dict[str, Loss], repeats: int) -> dict[str, float]:
    """Median milliseconds of value and gradient: ``ours`` and each peer, called in turn."""
    calls = {"ours": in_jax(inputs, ours)}
    for name, peer in peers.items():
        calls[name] = in_jax(inputs, peer) if name == "optax" else in_torch(inputs, peer)
    small = inputs.size < 10_000
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(20 if small else 1):
                call()
            if repeat > 1:
                times[name].append((time.perf_counter() - began) * 1e3 / (20 if small else 1))
    return {name: median(values) for name, values in times.items()}


def in_jax(inputs: np.ndarray, loss: Loss) -> Callable[[], None]:
    # The labels are arguments, lest XLA compute with them before the clock runs; a list, the cheapest to pass.
    labels, structure = jax.tree.flatten(loss)
    step = jax.jit(lambda labels, z: jax.value_and_grad(jax.tree.unflatten(structure, labels))(z))
    placed = jnp.asarray(inputs)
    return lambda: jax.block_until_ready(step(labels, placed))


def in_torch(inputs: np.ndarray, loss: Loss) -> Callable[[], None]:
    placed = torch.from_numpy(inputs).requires_grad_()

    def call() -> None:
        placed.grad = None
        loss(placed).backward()

    return call


if __name__ == "__main__":
    main()
