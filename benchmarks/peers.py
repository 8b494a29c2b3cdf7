"""Ours beside the usual PyTorch and imbalanced-learn code: the same ResNet, data and seeds; accuracy and time.

    IMBAL_JAX_DATA=DIR python benchmarks/peers.py run [--seeds 12] [--steps 400] [--out benchmarks/results/peers]
    python benchmarks/peers.py report [--out benchmarks/results/peers]

run: for each seed a draw of CIFAR-10 (automobiles against the rest, 1:100, 50 positives), and on it, one after the
other so that whatever else the machine does hits all: weighted cross-entropy and balanced batches, each by imbal_jax
and by PyTorch (class weights; ``WeightedRandomSampler``), and on the features of plain cross-entropy SMOTE, ours and
imbalanced-learn's with logistic regression. Each is a line of OUT/ledger.jsonl, measured by the same code: calibrated
and with thresholds from validation. A line that is there is not run again.
report: paired differences with the statistics of the suite, and the ratio of images a second, ours over the peer,
median over the seeds.

PyTorch trains eagerly, channels_last, on as many threads as cores, its images in memory and gathered by index: the
fastest of its usual ways here. ResNet-8: resnet32 with one block a stage.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.config import Config, Model, Optim, Train
from imbal_jax.suite import Stage, Suite, SuiteAddress
from imbal_jax.suite.cells import cifar10
from imbal_jax.transforms.augment import Augment

OURS = ("weighted_ce", "stratified", "smote")
PEERS = {
    "weighted_ce": "torch_weighted_ce",
    "stratified": "torch_weighted_sampler",
    "smote": "imblearn_smote",
}
CELL = cifar10(100, 50)


def suite_of(steps: int, seeds: int) -> Suite:
    """What ours runs, and what PyTorch repeats."""
    return Suite(
        name="peers",
        title="imbal_jax beside PyTorch and imbalanced-learn",
        base=Config(
            name="peers",
            select="average_precision",
            model=Model(name="resnet32", norm="batch", options={"stage_sizes": (1, 1, 1)}),
            optim=Optim(
                optimizer="sgd", learning_rate=0.05, nesterov=False, weight_decay=5e-4, clip_norm=0.0
            ),
            train=Train(batch_size=128, evaluations=8, steps_per_dispatch=20),
            augment=Augment(flip=True),
        ),
        steps=steps,
        stages=(
            Stage(
                name="final",
                cells=(CELL,),
                methods=("ce", *OURS),
                draws=tuple(range(seeds)),
                seeds=tuple(range(seeds)),
            ),
        ),
        reference="weighted_ce",
    )


def run(options: argparse.Namespace) -> None:
    """Every line that is missing."""
    from imbal_jax.suite import config_of
    from imbal_jax.suite.commit import code_commit
    from imbal_jax.suite.ledger import append_line, read_ledger
    from imbal_jax.suite.line import completed
    from imbal_jax.suite.run import run as run_ours
    from imbal_jax.suite.run import splits_of

    suite, commit = suite_of(options.steps, options.seeds), code_commit()
    done = {line["key"] for line in read_ledger(options.out).lines}

    def keep(address: SuiteAddress, line: dict[str, Any]) -> None:
        append_line(options.out, line)
        value = (line.get("metrics") or {}).get("balanced_accuracy")
        print(address.key, line["outcome"], line["reason"], value, line.get("images_per_second"), flush=True)

    for seed in range(options.seeds):
        for method in OURS:
            address = SuiteAddress("final", CELL.name, seed, method, "default", seed)
            peer = replace(address, method=PEERS[method])
            if address.key not in done:
                keep(address, run_ours(suite, address, options.out, commit=commit))
            if peer.key not in done:
                config = config_of(suite, address)
                splits = splits_of(config.data, options.out / "data")
                train = on_features if method == "smote" else in_torch
                line = train(config, splits, method, options.out)
                line = completed(suite, address, {"outcome": "done", **line}, commit)
                keep(peer, {**line, "method": peer.method, "key": peer.key})


def in_torch(config: Config, splits: Any, method: str, out: Path) -> dict[str, Any]:
    """The measured part of a line of PyTorch's training."""
    import torch

    torch.manual_seed(config.seed)
    train, batch = splits.train, config.train.batch_size
    steps = round(config.train.epochs * len(train) / batch)
    mean, deviation = (f(train.images / np.float32(255), axis=(0, 1, 2)) for f in (np.mean, np.std))

    def tensor(images: np.ndarray) -> torch.Tensor:
        scaled = (images / np.float32(255) - mean) / deviation
        return (
            torch.from_numpy(scaled.astype(np.float32))
            .permute(0, 3, 1, 2)
            .contiguous(memory_format=torch.channels_last)
        )

    images, labels = tensor(train.images), torch.from_numpy(train.labels).long()
    counts = torch.bincount(labels)
    inverse = len(labels) / (len(counts) * counts)
    weights = inverse.float() if method == "weighted_ce" else None
    network = resnet8(images.shape[1], len(counts))
    optimizer = torch.optim.SGD(
        network.parameters(), config.optim.learning_rate, momentum=0.9, weight_decay=5e-4
    )
    warm = max(1, round(config.optim.warmup * steps))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm))),
    )
    order = indices(method, inverse[labels], batch, len(labels))
    every, kept, seconds = steps // config.train.evaluations, [], 0.0
    for step in range(1, steps + 1):
        began = time.perf_counter()
        network.train()
        at = next(order)
        x = images[at]
        flipped = torch.rand(len(at)) < 0.5
        x = torch.where(flipped[:, None, None, None], x.flip(3), x)
        loss = torch.nn.functional.cross_entropy(network(x), labels[at], weight=weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
        seconds += time.perf_counter() - began
        if step % every == 0 or step == steps:
            parts = [probabilities(network, tensor(p.images)) for p in (splits.validation, splits.test)]
            kept.append((step, *parts))
    return measured(config, splits, kept, seconds, steps * batch)


def indices(method: str, weights: Any, batch: int, count: int) -> Iterator[Any]:
    """Batches of indices: shuffled epochs, or drawn by ``WeightedRandomSampler``."""
    import torch

    while True:
        if method == "stratified":
            sampler = torch.utils.data.WeightedRandomSampler(weights.double(), count, replacement=True)
            order = torch.tensor(list(sampler))
        else:
            order = torch.randperm(count)
        yield from (part for part in order.split(batch) if len(part) == batch)


def probabilities(network: Any, images: Any) -> np.ndarray:
    """float64 [N, C]."""
    import torch

    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(part) for part in images.split(512)])
    return torch.softmax(logits.double(), dim=1).numpy()


def resnet8(channels: int, classes: int) -> Any:
    """Cao's ResNet with one block a stage, 16, 32 and 64 channels, He's initialisation by the fan out, as ours."""
    import torch
    from resnet32_pytorch import TorchBlock

    layers = [torch.nn.Conv2d(channels, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
    width = 16
    for outputs in (16, 32, 64):
        layers.append(TorchBlock(width, outputs, 2 if outputs > 16 else 1))
        width = outputs
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, classes)]
    network = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def measured(
    config: Config, splits: Any, kept: list[tuple[int, np.ndarray, np.ndarray]], seconds: float, images: int
) -> dict[str, Any]:
    """A line's numbers, by the code that measures ours. kept: (step, validation, test) at each evaluation."""
    from sklearn.metrics import average_precision_score

    from imbal_jax.runs.outputs import RunOutputs, patient_codes, pixel_digests
    from imbal_jax.suite.measure import measures_of
    from imbal_jax.tasks import task_name

    held, test, train = splits.validation, splits.test, splits.train
    step, seen, outputs = max(kept, key=lambda each: average_precision_score(held.labels, each[1][:, 1]))
    scored = RunOutputs(
        best_step=step,
        seconds=seconds,
        skipped=0,
        labels=test.labels,
        groups=patient_codes(test.groups),
        digests=pixel_digests(test.images),
        scores=outputs.astype(np.float32),
        outputs=outputs.astype(np.float32),
        validation_labels=held.labels,
        validation_outputs=seen.astype(np.float32),
        validation_groups=patient_codes(held.groups),
        training_priors=np.bincount(train.labels) / len(train),
        correction=np.zeros(len(train.classes)),
        mean=np.zeros(train.images.shape[-1]),
        deviation=np.ones(train.images.shape[-1]),
        image_shape=np.array(test.images.shape[1:]),
        image_bits=np.array(8),
        classes=train.classes,
        task_name=task_name(config.task, train),
    )
    return {
        "best_step": step,
        "images": images,
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1) if seconds else None,
        **measures_of(config, scored, cell=CELL.name, draw=config.data.split_seed),
    }


def on_features(config: Config, splits: Any, method: str, out: Path) -> dict[str, Any]:
    """imbalanced-learn's SMOTE and scikit-learn's logistic regression on the features of plain cross-entropy."""
    import shutil
    from io import StringIO

    from imblearn.over_sampling import SMOTE
    from rich.console import Console
    from sklearn.linear_model import LogisticRegression

    from imbal_jax import fit
    from imbal_jax.data.feeding.pixel_statistics import pixel_statistics
    from imbal_jax.methods import METHODS
    from imbal_jax.runs.restore import restore_state
    from imbal_jax.training.build import make_mesh
    from imbal_jax.training.inference import feature_extractor

    folder = out / "features"
    shutil.rmtree(folder, ignore_errors=True)
    plain = replace(config, methods=(METHODS["ce"],))
    (result,) = fit(plain, folder, splits, console=Console(file=StringIO()), report=False)
    mesh = make_mesh(plain)
    network, state = restore_state(
        plain, METHODS["ce"], splits.train, folder / "ce" / f"seed{config.seed}", mesh, result.best_step
    )
    extract = feature_extractor(network, mesh, 512)
    variables, statistics = state.evaluation_variables, pixel_statistics(splits.train.images)
    train, held, test = (
        np.asarray(extract(variables, statistics, part.images))
        for part in (splits.train, splits.validation, splits.test)
    )
    began = time.perf_counter()
    x, y = SMOTE(random_state=config.seed).fit_resample(train, splits.train.labels)
    head = LogisticRegression(max_iter=1000).fit(x, y)
    seconds = result.seconds + time.perf_counter() - began
    shutil.rmtree(folder, ignore_errors=True)
    kept = [(result.best_step, head.predict_proba(held), head.predict_proba(test))]
    return measured(config, splits, kept, seconds, round(config.train.epochs * len(train)))


def report(options: argparse.Namespace) -> None:
    """Paired differences and time ratios, printed and written to OUT/peers.json."""
    from environment import environment

    from imbal_jax.suite.findings import conclude
    from imbal_jax.suite.ledger import read_ledger

    lines = list(read_ledger(options.out).lines)
    found: dict[str, Any] = {}
    for ours, peer in PEERS.items():
        both = [line for line in lines if line["method"] in (ours, peer)]
        of = {(line["method"], line["seed"]): line for line in both if line["outcome"] == "done"}
        seeds = sorted(seed for method, seed in of if method == ours and (peer, seed) in of)
        times = [of[ours, s]["images_per_second"] / of[peer, s]["images_per_second"] for s in seeds]
        found[f"{peer} less {ours}"] = row = {
            "seeds": len(seeds),
            "speed_ours_over_peer": float(np.median(times)),
        }
        for metric in ("balanced_accuracy", "average_precision", "auroc"):
            table = conclude(both, reference=ours, primary=metric).main
            each = table.comparison(CELL.name, peer)
            row[metric] = {
                "ours": float(np.mean([of[ours, s]["metrics"][metric] for s in seeds])),
                "difference": each.difference.value,
                "interval": [each.difference.low, each.difference.high],
                "equivalent": each.probabilities.equal,
                "verdict": each.verdict,
            }
        print(f"{peer} less {ours}", json.dumps(row))
    text = json.dumps({**environment(), "cell": CELL.name, "results": found}, indent=1)
    (options.out / "peers.json").write_text(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "peers")
    options = parser.parse_args()
    {"run": run, "report": report}[options.what](options)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
