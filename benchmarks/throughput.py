"""Images a second of training on an accelerator: ours beside PyTorch (eager, torch.compile) in one run.

    python benchmarks/throughput.py run [--only resnet50 torch_compile ...] [--minutes 11] [--out FILE]
    python benchmarks/throughput.py list
    python benchmarks/throughput.py run --side 64 --batch 8 --steps 2 --images 64     # a trial on a CPU

Every case is a process of its own, the most valuable first, and is written as it comes; none is begun that would not
end within --minutes. ResNet-50 at 224 pixels in bfloat16 with float32 parameters, batches of 256, SGD, by
the trainer's own stage: the sampler and the perturbation are inside the step. "resnet50" is run again after PyTorch,
so that a clock that falls shows. records: the same from ArrayRecord files through Grain. flags/...: XLA flags.
utilisation: three times the operations of a forward pass (XLA's count) over the peak of the device (PEAKS).
benchmarks/results/throughput_DEVICE.json; a case that is there is not run again without --again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "T4": 65e12}
"""Dense bfloat16 operations a second, by the makers' data sheets (SXM parts)."""

STEM = {"folded_stem": True, "sliced_pool": True}
BALANCED = "composition=balanced,weights=inverse"
BUFFERS = "--xla_gpu_graph_min_graph_size=1 --xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUDNN,CUSTOM_CALL"
TUNED = "--xla_gpu_autotune_level=5 --xla_gpu_exhaustive_tiling_search=true"
OVERLAP = "--xla_gpu_enable_latency_hiding_scheduler=true"


@dataclass(frozen=True)
class Case:
    """A way to train. seconds: what it takes on an H200, compilation included, guessed before the first run."""

    name: str
    model: str = "resnet50"
    norm: str = "batch"
    dtype: str = "bfloat16"
    method: str = "ce"
    options: dict[str, Any] = field(default_factory=dict)
    dispatch: int = 20
    perturbed: bool = False
    records: bool = False
    torch: str = ""
    flags: str = ""
    seconds: float = 50.0


CASES = (
    Case("resnet50"),
    Case("torch_compile", torch="compile", seconds=90),
    Case("resnet50_stem", options=STEM),
    Case("torch_eager", torch="eager", seconds=30),
    Case("resnet50_again"),
    Case("balanced", method=BALANCED, perturbed=True),
    Case("folded_stem", options={"folded_stem": True}),
    Case("sliced_pool", options={"sliced_pool": True}),
    Case("group_norm", norm="group"),
    Case("flags/buffers", options=STEM, flags=BUFFERS),
    Case("flags/tuned", options=STEM, flags=TUNED, seconds=120),
    Case("flags/overlap", options=STEM, flags=OVERLAP),
    Case("records", records=True),
    Case("resnet32", model="resnet32", dtype="float32", dispatch=50, seconds=30),
    Case("resnet32_bfloat16", model="resnet32", dispatch=50, seconds=30),
    Case("resnet32_long_dispatch", model="resnet32", dispatch=400, seconds=30),
    Case("resnet32_buffers", model="resnet32", dispatch=50, flags=BUFFERS, seconds=30),
)


def side_of(case: Case, options: argparse.Namespace) -> int:
    return 32 if case.model == "resnet32" else options.side


def batch_of(case: Case, options: argparse.Namespace) -> int:
    return min(128, options.batch) if case.model == "resnet32" else options.batch


# One case, in a process of its own


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    return torch_case(case, options) if case.torch else jax_case(case, options)


def pictures(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return images, (np.arange(count) % 101 == 0).astype(np.int32)


def jax_case(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    import jax

    from imbal_jax.config import Config, Data, Model, Optim, Train
    from imbal_jax.data.dataset import Dataset
    from imbal_jax.data.load import Splits
    from imbal_jax.engine import parallel
    from imbal_jax.methods import find_method
    from imbal_jax.tasks import ONE_LABEL
    from imbal_jax.training import stage as stages
    from imbal_jax.training.build import make_mesh
    from imbal_jax.transforms.augment import Augment

    side, batch = side_of(case, options), batch_of(case, options)
    images, labels = pictures(options.images, side)
    data = Dataset(images, labels, np.arange(len(labels)), ("normal", "abnormal"))
    if case.records:
        data = as_records(data)
    perturbation = {"flip": True, "shift": 0.1, "rotation": 10, "zoom": 0.1, "contrast": 0.2}
    config = Config(
        name="throughput",
        data=Data(source="arrays", image_size=side),
        model=Model(name=case.model, norm=case.norm, dtype=case.dtype, options=case.options),
        optim=Optim(optimizer="sgd", learning_rate=1e-3, weight_decay=0.0, clip_norm=0.0),
        train=Train(batch_size=batch, epochs=10_000, devices=1, steps_per_dispatch=case.dispatch),
        augment=Augment(**perturbation) if case.perturbed else Augment(),
    )
    mesh, method = make_mesh(config), find_method(case.method)
    stage = stages.first_stage(config, method, ONE_LABEL, Splits(data, data, data, []), mesh)
    steps = min(options.steps, case.dispatch) if options.steps else case.dispatch

    def advance(state: Any) -> Any:
        state, metrics, done = stage.advance(state, steps)
        while done < steps:
            state, metrics, more = stage.advance(state, steps - done)
            done += more
        jax.block_until_ready((state, metrics))
        return state

    begun = time.perf_counter()
    state = advance(parallel.replicate(stage.state, mesh))
    compiling = time.perf_counter() - begun
    state, rates = timed(advance, state, steps * batch)
    network, variables = stage.program.network, state.evaluation_variables
    zeros = np.zeros((batch, side, side, 3), np.float32)
    counted = (
        jax.jit(lambda v, x: network.apply(v, x, train=False, rngs={}))
        .lower(variables, zeros)
        .cost_analysis()
    )
    flops = 3 * float((counted or {}).get("flops", np.nan)) / batch
    peak = next((value for name, value in PEAKS.items() if name in jax.devices()[0].device_kind), np.nan)
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "images_per_second": round(median(rates), 1),
        "rates": [round(r, 1) for r in rates],
        "first_dispatch_seconds": round(compiling, 1),
        "operations_an_image": flops,
        "utilisation": round(median(rates) * flops / peak, 4) if np.isfinite(peak) else None,
        "peak_memory_mib": round(memory["peak_bytes_in_use"] / 2**20)
        if "peak_bytes_in_use" in memory
        else None,
    }


def timed(
    advance: Callable[[Any], Any], state: Any, images: int, repeats: int = 5
) -> tuple[Any, list[float]]:
    rates = []
    for _ in range(repeats):
        begun = time.perf_counter()
        state = advance(state)
        rates.append(images / (time.perf_counter() - begun))
    return state, rates


def as_records(data: Any) -> Any:
    """The images as ArrayRecord files of a temporary folder, read by the plan."""
    from dataclasses import replace

    from imbal_jax.data.ingest.journal import Place
    from imbal_jax.data.ingest.record_writing import Item, Layout, write_records
    from imbal_jax.data.labels import LabelLayout
    from imbal_jax.data.records.record_set import open_records

    folder = Path(tempfile.mkdtemp())
    size = data.images[0].nbytes
    (folder / "journal").mkdir()
    with (folder / "journal" / "pictures").open("wb") as stream:
        for image in data.images:
            stream.write(image.tobytes())
    import zlib

    items = [
        Item(
            f"{i:06}",
            f"{i:06}",
            (int(label),),
            (),
            Place("pictures", i * size, size, zlib.crc32(data.images[i].tobytes())),
        )
        for i, label in enumerate(data.labels)
    ]
    made = write_records(
        folder,
        layout=Layout(data.images.shape[1:], "uint8", LabelLayout(data.classes, many=False)),
        splits={"train": items},
        journal=folder / "journal",
    )
    records = open_records(made)
    return replace(data, images=records.images, labels=np.asarray(records.labels))


def torch_case(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Synthetic images on the device, one batch again and again: no input pipeline at all."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    model = resnet50_of_torch().to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=device == "cuda")
    side, batch = options.side, options.batch
    x = torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(0, 2, (batch,), device=device)
    forward = torch.compile(model) if case.torch == "compile" else model
    steps = options.steps or case.dispatch

    def advance(_: Any) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, dtype=torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    begun = time.perf_counter()
    advance(None)
    first = time.perf_counter() - begun
    _, rates = timed(advance, None, steps * batch)
    return {
        "images_per_second": round(median(rates), 1),
        "rates": [round(r, 1) for r in rates],
        "first_dispatch_seconds": round(first, 1),
        "torch": torch.__version__,
    }


def resnet50_of_torch() -> Any:
    """ResNet-50 with the stride in the 3x3 convolution, two outputs."""
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(inputs, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, 4 * width, 1, bias=False),
                nn.BatchNorm2d(4 * width),
            )
            self.skip: nn.Module = nn.Identity()
            if stride > 1 or inputs != 4 * width:
                self.skip = nn.Sequential(
                    nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
                )
            self.last = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            return self.last(self.layers(x) + self.skip(x))

    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for index in range(blocks):
            layers.append(Bottleneck(inputs, 64 * 2**stage, 2 if stage and not index else 1))
            inputs = 4 * 64 * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 2))


# All cases


def run(options: argparse.Namespace) -> None:
    begun = time.monotonic()
    about = json.loads(subprocess.run(child(["about"]), capture_output=True, text=True, check=True).stdout)
    kind = about["devices"].split(" x ")[-1].lower().replace(" ", "-")
    out = options.out or HERE / "results" / f"throughput_{kind}.json"
    content = json.loads(out.read_text()) if out.is_file() else {"environment": about, "cases": {}}
    for case in CASES:
        if (options.only and case.name not in options.only) or (
            case.name in content["cases"] and not options.again
        ):
            continue
        if time.monotonic() - begun + case.seconds > 60 * options.minutes:
            print(f"{case.name}: left out, no time", flush=True)
            continue
        given = [f"--{n}={getattr(options, n)}" for n in ("side", "batch", "steps", "images")]
        flags = f"{os.environ.get('XLA_FLAGS', '')} {case.flags}".strip()
        done = subprocess.run(
            child(["case", case.name, *given]),
            capture_output=True,
            text=True,
            env={**os.environ, "XLA_FLAGS": flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
        if done.returncode:
            found: dict[str, Any] = {"failed": (done.stderr.strip().splitlines() or ["?"])[-1][:300]}
        else:
            found = json.loads(done.stdout.strip().splitlines()[-1])
        content["cases"][case.name] = {**found, "flags": case.flags}
        content["ratios"] = ratios(content["cases"])
        out.write_text(json.dumps(content, indent=1) + "\n")
        print(case.name, found.get("images_per_second", found), flush=True)
    for name, value in content.get("ratios", {}).items():
        print(f"{name} {value:.3f}")
    print(out)


def ratios(cases: dict[str, Any]) -> dict[str, float]:
    rates = {name: case["images_per_second"] for name, case in cases.items() if "images_per_second" in case}
    pairs = {
        "resnet50 / torch_compile": ("resnet50", "torch_compile"),
        "resnet50_stem / torch_compile": ("resnet50_stem", "torch_compile"),
        "flags/buffers / torch_compile": ("flags/buffers", "torch_compile"),
        "flags/tuned / torch_compile": ("flags/tuned", "torch_compile"),
        "flags/overlap / torch_compile": ("flags/overlap", "torch_compile"),
        "resnet50 / torch_eager": ("resnet50", "torch_eager"),
        "resnet50_again / resnet50": ("resnet50_again", "resnet50"),
        "balanced / resnet50": ("balanced", "resnet50"),
        "group_norm / resnet50": ("group_norm", "resnet50"),
        "records / resnet50": ("records", "resnet50"),
        "resnet32_bfloat16 / resnet32": ("resnet32_bfloat16", "resnet32"),
        "resnet32_long_dispatch / resnet32": ("resnet32_long_dispatch", "resnet32"),
    }
    return {
        name: round(rates[a] / rates[b], 4) for name, (a, b) in pairs.items() if a in rates and b in rates
    }


def child(words: list[str]) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "list", "case", "about"])
    parser.add_argument("name", nargs="?", help="of a single case")
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--minutes", type=float, default=11.0)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=0, help="of a dispatch; 0: those of the case")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "list":
        for case in CASES:
            print(f"{case.name:24} about {case.seconds:.0f} s  {case.flags}")
    elif options.what == "about":
        from environment import environment

        print(json.dumps(environment()))
    elif options.what == "case":
        (case,) = (case for case in CASES if case.name == options.name)
        print(json.dumps(measure(case, options)))
    else:
        run(options)


if __name__ == "__main__":
    main()
