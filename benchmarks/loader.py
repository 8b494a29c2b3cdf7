"""Images a second from records on disk: batches of a balanced plan, against a plain Grain pipeline in the same run.

    python benchmarks/loader.py [--repeats 9]

4,000 records of 224 x 224 uint8 (smooth, with noise), one in a hundred rare, batches of 128, read by two threads of
one process ("threads") or by two processes ("processes").

balanced, natural: ``stream.read_ahead`` by a plan of that composition; a balanced batch repeats the 40 rare images
and reads each once, a natural one repeats none. plain: Grain's ArrayRecord source, shuffled, each record parsed as
ours are, batched by Grain. catalogue: the same on the source that tensorflow-datasets gives. placed: balanced, and
put on a device by ``stream.stream_steps``, whose step takes the mean. All records lie in the page cache. "clock" is
images a second of time, "core" images a second of processor, the readers' too.

Opening: 10 million labels and patients in 2,000 files, simulated: each file has the name, the size and the ends that
the check reads, and no records. Medians go to benchmarks/results/loader.json.
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import psutil
import tensorflow_datasets as tfds
from absl import flags
from array_record.python.array_record_data_source import ArrayRecordDataSource
from environment import environment

from imbal_jax.data.feeding.plans import Plans
from imbal_jax.data.feeding.stream import AHEAD, THREADS, HostBatches, read_ahead, stream_steps
from imbal_jax.data.records.array_records import parse, read_folder_info
from imbal_jax.data.records.label_index import write_index
from imbal_jax.data.records.record_set import open_records
from imbal_jax.engine import parallel
from imbal_jax.sampling import make_plan

RECORDS, SIDE, BATCH, BATCHES, WARM = 4000, 224, 128, 40, 8
TARGET = 2000  # images/s that 16 cores must feed
MANY, FILES = 10_000_000, 2000


class State(NamedTuple):
    step: Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "loader.json")
    options = parser.parse_args()
    flags.FLAGS.mark_as_parsed()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_records(Path(temporary))
        ways = make_ways(folder)
        rows = []
        for repeat in range(options.repeats):
            row: dict[str, float] = {"load_average": os.getloadavg()[0]}
            for name in sorted(ways, reverse=bool(repeat % 2)):
                row[f"{name}_clock"], row[f"{name}_core"] = rate(ways[name])
            rows.append(row)
        opening = open_many(folder, Path(temporary) / "many", options.repeats)
    medians = {key: median(row[key] for row in rows) for key in rows[0]}
    ratios = {
        f"{kind}_{composition}_over_plain_{unit}": median(
            row[f"{kind}_{composition}_{unit}"] / row[f"{kind}_plain_{unit}"] for row in rows
        )
        for kind in ("threads", "processes")
        for composition in ("balanced", "natural")
        for unit in ("clock", "core")
    }
    projection = {
        "what": "the rate of one core times 16, which was not measured on 16 cores",
        "images_a_second": round(16 * medians["processes_natural_core"]),
        "target": TARGET,
    }
    versions = {name: version(name) for name in ("grain", "array_record", "tensorflow-datasets")}
    results = {
        **environment(),
        "data_versions": versions,
        "images_a_second": medians,
        "ratios": ratios,
        "projection_to_16_cores": projection,
        "opening_10_million": opening,
        "repeats": rows,
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    for key, value in {**medians, **ratios, **opening}.items():
        print(f"{key:45} {value:12,.3f}" if isinstance(value, float) else f"{key:45} {value}")
    print(projection)


def make_ways(folder: Path) -> dict[str, Callable[[], Iterator[Any]]]:
    """Name -> what begins a stream of batches."""
    records = open_records(folder)
    rows = records.splits["train"]
    images, labels = records.images.select(rows), np.asarray(records.labels[rows])
    source = ArrayRecordDataSource([str(path) for path, _ in records.images.files.files])
    catalogue = tfds.builder_from_directory(folder).as_data_source("train")

    def planned(composition: str, workers: int) -> Callable[[], Iterator[Any]]:
        plans = Plans(plan=make_plan(labels, BATCH, composition))
        return lambda: read_ahead(HostBatches(images=images, labels=labels, plans=plans), workers=workers)

    def placed() -> Iterator[Any]:
        plans, mesh = Plans(plan=make_plan(labels, BATCH, "balanced")), parallel.make_mesh(1)
        step = jax.jit(
            lambda state, batch: (State(state.step + 1), {"skipped": 0, "mean": jnp.mean(batch["images"])})
        )
        advance = stream_steps(step, HostBatches(images=images, labels=labels, plans=plans), mesh, shared={})
        state = State(0)
        while True:
            state, metrics, _ = advance(state, 1)
            yield metrics

    def plain(from_: Any, decode: Callable[[Any], Any], workers: int) -> Callable[[], Iterator[Any]]:
        def begin() -> Iterator[Any]:
            batches = grain.MapDataset.source(from_).shuffle(seed=0).repeat().map(decode).batch(BATCH)
            threads = 1 if workers else THREADS
            read = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD))
            if workers:
                read = read.mp_prefetch(
                    grain.multiprocessing.MultiprocessingOptions(workers, per_worker_buffer_size=2)
                )
            return iter(read)

        return begin

    return {
        **{
            f"{kind}_{composition}": planned(composition, workers)
            for kind, workers in (("threads", 0), ("processes", 2))
            for composition in ("balanced", "natural")
        },
        "threads_placed": placed,
        "threads_plain": plain(source, decode, 0),
        "processes_plain": plain(source, decode, 2),
        "threads_catalogue": plain(catalogue, lambda record: {k: record[k] for k in ("image", "label")}, 0),
    }


def decode(record: bytes) -> dict[str, Any]:
    features = parse(record)
    pixels = np.frombuffer(features["image"].bytes_list.value[0], np.uint8).reshape(SIDE, SIDE, 1)
    return {"images": pixels, "labels": np.int32(features["label"].int64_list.value[0])}


def rate(begin: Callable[[], Iterator[Any]]) -> tuple[float, float]:
    """Images a second, by the clock and by the processor."""
    batches = begin()
    try:
        for _ in range(WARM):
            next(batches)
        clock, processor = time.perf_counter(), processor_seconds()
        for _ in range(BATCHES):
            next(batches)
        images = BATCHES * BATCH
        return images / (time.perf_counter() - clock), images / (processor_seconds() - processor)
    finally:
        batches.close()


def processor_seconds() -> float:
    """Of this process and of those it started that live."""
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def open_many(small: Path, folder: Path, repeats: int) -> dict[str, float]:
    """Seconds to open 10 million records, their files simulated, and what follows."""
    folder.mkdir()
    random = np.random.default_rng(0)
    info = json.loads((small / "dataset_info.json").read_text())
    info["splits"] = [{**info["splits"][0], "shardLengths": [str(MANY // FILES)] * FILES}]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for name in ("features.json", "label.labels.txt"):
        (folder / name).write_bytes((small / name).read_bytes())
    for path, _ in read_folder_info(folder).files:
        path.write_bytes(random.bytes(2**17))
    labels = (random.random(MANY) < 1 / 9000).astype(np.int32)
    write_index(read_folder_info(folder), labels, np.arange(MANY, dtype=np.int32) // 2)
    seconds, plan_seconds = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        records = open_records(folder)
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        rows = records.splits["train"]
        images, known = records.images.select(rows), np.asarray(records.labels[rows])
        batches = HostBatches(
            images=images, labels=known, plans=Plans(plan=make_plan(known, BATCH, "balanced"))
        )
        batches._drawn(0)
        plan_seconds.append(time.perf_counter() - began)
    return {
        "seconds": median(seconds),
        "seconds_at_most": max(seconds),
        "seconds_of_a_plan_and_its_first_items": median(plan_seconds),
    }


def write_records(folder: Path) -> Path:
    """The set that is read."""
    features = tfds.features

    class Radiographs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "radiographs"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self,
                features=features.FeaturesDict(
                    {
                        "image": features.Tensor(shape=(SIDE, SIDE, 1), dtype=np.uint8, encoding="bytes"),
                        "label": features.ClassLabel(names=["normal", "nodule"]),
                        "patient": features.Text(),
                        "id": features.Text(),
                        "flags": features.Text(),
                    }
                ),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
            random = np.random.default_rng(0)
            for i in range(RECORDS):
                smooth = random.normal(128, 20, (SIDE // 8, SIDE // 8, 1)).repeat(8, 0).repeat(8, 1)
                pixels = np.clip(smooth + random.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
                known = {
                    "label": int(i % 100 == 0),
                    "patient": f"{i // 2:032x}",
                    "id": f"{i:032x}",
                    "flags": "",
                }
                yield i, {"image": pixels, **known}

    builder = Radiographs(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=8))
    return Path(builder.data_dir)


if __name__ == "__main__":
    main()
