"""What an ingest costs beside the decoding that it cannot do without, for each transfer syntax.

    python benchmarks/ingest.py [--repeats 5]

A real chest radiograph (RG1 of pydicom-data) at 2048 x 2048 pixels of 12 bits (JPEG: of 8), shifted by a few pixels
from file to file, becomes records of 224 x 224. bare: pydicom parses the file and decodes it, with the very plugin
that the ingest uses, since a baseline with a slower one would flatter it; pydicom's own choice of plugin stands
beside it. direct: the same, by the shortest way to the decoder that is known here, which the ingest takes too and
which is not always pydicom's: the stricter baseline. Everything is measured in turn in one run, medians over the
repeats:

    per core      processor time of a file, bare over ingest: reading, hashing, grey scale, resizing, the journal, and
                  its share of writing, checking and indexing the records
    two workers   time by the clock of the reading processes, one over two; and the same of two processes that only
                  decode, which is what the machine had to give just then. Where others keep the cores busy, neither
                  says how the ingest would scale, so that processor time says it too:
    by processor  2 w1 / (w2 + p): w the processor time that the readers took for a file, one or two of them at work,
                  p that of the process that gives them work. What two idle cores would do by the clock, as long as
                  the processor is all that is waited for; derived, not seen

Both of what was asked for are printed with the verdict: 0.8 per core, 1.7 on two.
"""

import argparse
import copy
import io
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
from dicom_read import decode, radiograph
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from imbal_jax.data.dicom.decoding import decode as decode_frame
from imbal_jax.data.dicom.decoding import decoder_of, frame_bytes, native_values
from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.ingest.journal import Place, Read, Segment
from imbal_jax.data.ingest.manifest import Line, verify, write_checksums, write_manifest
from imbal_jax.data.ingest.reading import Job, Task, read_file
from imbal_jax.data.ingest.record_writing import Item, Layout, checksum, write_records
from imbal_jax.data.ingest.workers import KEPT, read_files
from imbal_jax.data.labels import LabelLayout
from imbal_jax.data.pseudonyms import open_key
from imbal_jax.data.records.label_index import build_index

SIZE = 224
# Of each syntax so many files that one pass takes seconds.
SYNTAXES = {
    "uncompressed": (ExplicitVRLittleEndian, 96),
    "RLE": (RLELossless, 64),
    "JPEG, 8 bits, quality 95": (JPEGBaseline8Bit, 96),
    "JPEG-LS": (JPEGLSLossless, 32),
    "JPEG 2000": (JPEG2000Lossless, 16),
}
PER_CORE, TWO_WORKERS = 0.8, 1.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ingest.json")
    options = parser.parse_args()
    from environment import environment  # with JAX, which the processes that read need not load

    about = environment()
    where = Path(tempfile.mkdtemp(prefix="imbal_jax_ingest_"))
    try:
        with quiet():
            keep_large_arrays()
            open_key(where / "key")
            overhead = record_cost(where, options.repeats)
            rows = {}
            for name, (syntax, files) in SYNTAXES.items():
                rows[name] = measure(where, syntax, files, options.repeats, overhead)
                print(name, json.dumps(rows[name]), flush=True)
    finally:
        shutil.rmtree(where)
    result = {
        **about,
        "load_average_at_end": os.getloadavg()[0],
        "repeats": options.repeats,
        "record_cpu_ms": round(overhead, 3),
        "asked_for": {"per_core": PER_CORE, "two_workers": TWO_WORKERS},
        "syntaxes": rows,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    report(rows)


def measure(where: Path, syntax: UID, files: int, repeats: int, overhead: float) -> dict[str, object]:
    """One row of the table. overhead: ms of processor time of what follows the reading, a record."""
    folder = where / "films"
    write_files(folder, syntax, files)
    paths = sorted(folder.iterdir())
    plugin = decoder_of(syntax)[0] if syntax.is_compressed else ""
    key, job = open_key(where / "key"), job_of(where)
    tasks = [Task(path.name, named=True) for path in paths]

    def bare() -> None:
        for path in paths:
            decode(path)

    def pydicoms_choice() -> None:
        for path in paths:
            pixel_array(pydicom.dcmread(path))

    def direct() -> None:
        for path in paths:
            file = open_dicom(path)
            if syntax.is_compressed:
                decode_frame(file, 0, frame_bytes(file, 0), plugin)
            else:
                native_values(file, 0)

    def ingest() -> None:
        segment = Segment(emptied(where / "journal"))
        for task in tasks:
            read, picture = read_file(job, task, key)
            assert picture is not None, read.reason
            segment.append(read, picture)
        segment.close()

    def readers(count: int) -> float:
        """Seconds a file by the clock, once the readers are at work."""
        watch = Watch(count, files)
        began = time.process_time()

        def found(task: Task, read: Read, place: Place) -> None:
            watch.answer(place.segment)

        read_files(job, tasks, emptied(where / "journal"), workers=count, seconds=600, found=found)
        parent.append((time.process_time() - began) / files)
        spent.setdefault(count, []).append(watch.cpu)
        return watch.clock

    def decoders(count: int) -> float:
        """The same of processes that only decode."""
        watch = Watch(count, files)
        with multiprocessing.get_context("forkserver").Pool(count, keep_large_arrays) as pool:
            for who in pool.imap_unordered(decode_side, paths):
                watch.answer(who)
        return watch.clock

    cpu: dict[str, list[float]] = {"bare": [], "direct": [], "ingest": []}
    clock: dict[str, list[float]] = {}
    spent: dict[int, list[float]] = {}
    parent: list[float] = []
    default = time_of(pydicoms_choice, time.process_time) / files
    for _ in range(repeats):
        cpu["bare"].append(time_of(bare, time.process_time) / files)
        cpu["direct"].append(time_of(direct, time.process_time) / files)
        cpu["ingest"].append(time_of(ingest, time.process_time) / files + overhead / 1e3)
        for count in (1, 2):
            clock.setdefault(f"ingest_{count}", []).append(readers(count))
            clock.setdefault(f"bare_{count}", []).append(decoders(count))
    pairs = {name: [one / two for one, two in zip(clock[f"{name}_1"], clock[f"{name}_2"], strict=True)]
             for name in ("ingest", "bare")}  # fmt: skip
    ratios = {
        name: [one / ingest for one, ingest in zip(cpu[name], cpu["ingest"], strict=True)]
        for name in ("bare", "direct")
    }
    return {
        "files": files,
        "megabytes": round(sum(path.stat().st_size for path in paths) / files / 1e6, 2),
        "plugin": plugin or "none",
        "pydicoms_choice_cpu_ms": round(default * 1e3, 2),
        "bare_cpu_ms": round(median(cpu["bare"]) * 1e3, 2),
        "ingest_cpu_ms": round(median(cpu["ingest"]) * 1e3, 2),
        "bare_per_cpu_second": round(1 / median(cpu["bare"]), 1),
        "ingest_per_cpu_second": round(1 / median(cpu["ingest"]), 1),
        "direct_cpu_ms": round(median(cpu["direct"]) * 1e3, 2),
        "per_core": round(median(ratios["bare"]), 3),
        "per_core_spread": [round(min(ratios["bare"]), 3), round(max(ratios["bare"]), 3)],
        "per_core_of_direct": round(median(ratios["direct"]), 3),
        "two_workers": round(median(pairs["ingest"]), 2),
        "two_workers_spread": [round(min(pairs["ingest"]), 2), round(max(pairs["ingest"]), 2)],
        "two_bare_decoders": round(median(pairs["bare"]), 2),
        "two_bare_decoders_spread": [round(min(pairs["bare"]), 2), round(max(pairs["bare"]), 2)],
        "two_workers_by_processor": round(2 * median(spent[1]) / (median(spent[2]) + median(parent)), 2),
        "reader_cpu_ms": [round(median(spent[count]) * 1e3, 2) for count in (1, 2)],
        "parent_cpu_ms": round(median(parent) * 1e3, 3),
        "load_average": round(os.getloadavg()[0], 2),
    }


class Watch:
    """Times the answers of several processes once each has given one: the start of a process costs the same for ten
    files and for a million."""

    def __init__(self, processes: int, files: int) -> None:
        self.processes, self.files = processes, files
        self.seen: set[object] = set()
        self.answers = 0
        self.began: tuple[int, float, float] | None = None
        self.clock = self.cpu = float("nan")

    def answer(self, who: object) -> None:
        self.answers += 1
        self.seen.add(who)
        if self.began is None and len(self.seen) == self.processes:
            self.began = (self.answers, time.perf_counter(), children_cpu())
        elif self.began is not None and self.answers == self.files:
            answers, clock, cpu = self.began
            self.clock = (time.perf_counter() - clock) / (self.files - answers)
            self.cpu = (children_cpu() - cpu) / (self.files - answers)


def children_cpu() -> float:
    return sum(map(cpu_of, multiprocessing.active_children()))


def cpu_of(process: multiprocessing.process.BaseProcess) -> float:
    """Seconds that a process that is alive has run."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


def keep_large_arrays() -> None:
    """As the readers do, and this process by now: see workers.KEPT."""
    np.empty(KEPT, np.uint8)


def decode_side(path: Path) -> int:
    decode(path)
    return os.getpid()


def time_of(run: Callable[[], None], clock: Callable[[], float]) -> float:
    began = clock()
    run()
    return clock() - began


def job_of(where: Path) -> Job:
    return Job(
        folder=where / "films",
        key_file=where / "key",
        geometry=Geometry(SIZE),
        by_accession=False,
        wanted=frozenset(),
    )


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def record_cost(where: Path, repeats: int, count: int = 400) -> float:
    """ms of processor time, a record, of everything that follows the reading: it is the same for every syntax."""
    key, layout = (
        open_key(where / "key"),
        Layout((SIZE, SIZE, 1), "uint8", LabelLayout(("normal", "sick"), False)),
    )
    picture = Image.fromarray(radiograph(12).pixel_array).resize((SIZE, SIZE))
    picture = np.asarray(picture, np.float32)[..., None]
    journal = emptied(where / "journal")
    segment, items, lines = Segment(journal), [], []
    for i in range(count):
        name = key.of("image", str(i))
        pixels = np.roll(picture / picture.max() * 255, i, 1).astype(np.uint8)
        place = segment.append(Read(key.of("file", str(i)), content=name, pixels=True), pixels)
        item = Item(name, key.of("patient", str(i)), (i % 2,), (), place)
        items.append(item)
        lines.append(
            Line(key.of("file", str(i)), name, "record", name, checksum(layout.example(item, pixels)))
        )
    segment.close()

    def write() -> None:
        emptied(where / "records")
        folder = write_records(where / "records", layout=layout, splits={"train": items}, journal=journal)
        write_manifest(folder, {}, lines)
        write_checksums(folder)
        verify(folder)
        build_index(folder, workers=1)

    write()
    return median(time_of(write, time.process_time) for _ in range(repeats)) / count * 1e3


def write_files(folder: Path, syntax: UID, count: int) -> None:
    emptied(folder)
    whole = radiograph(8 if syntax == JPEGBaseline8Bit else 12)
    pixels = whole.pixel_array
    for i in range(count):
        file, shifted = copy.deepcopy(whole), np.roll(pixels, i, 1)
        file.PixelData = shifted.tobytes()
        if syntax == JPEGBaseline8Bit:
            stream = io.BytesIO()
            Image.fromarray(shifted).save(stream, "JPEG", quality=95)
            file.PixelData = encapsulate([stream.getvalue()])
            file.file_meta.TransferSyntaxUID = syntax
        elif syntax.is_compressed:
            file.compress(syntax)
        file.save_as(folder / f"{i:03}.dcm")


def report(rows: dict[str, dict[str, object]]) -> None:
    for name, row in rows.items():
        verdicts = [
            f"{row[what]} ({'met' if row[what] >= asked else 'missed'}, {asked} asked for)"
            for what, asked in (("per_core", PER_CORE), ("two_workers", TWO_WORKERS))
        ]
        print(
            f"{name}: per core {verdicts[0]}, of direct {row['per_core_of_direct']}; two workers {verdicts[1]}, "
            f"by processor time {row['two_workers_by_processor']}; two bare decoders {row['two_bare_decoders']}"
        )


if __name__ == "__main__":
    main()
