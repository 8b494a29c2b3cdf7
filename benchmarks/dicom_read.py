"""Reading a radiograph against only decoding it, by transfer syntax: images a processor-second, and their ratio.

    python benchmarks/dicom_read.py [--repeats 15]

A real chest radiograph (RG1 of pydicom-data, MONOCHROME1) resized to 2048x2048 and 12 bits, or 8 for JPEG, with
its window. bare: pydicom reads the file and decodes it with the same decoder, nothing else. read: load_radiograph,
that is the checks, modality, window, polarity and anti-aliased shrinking to 224x224 too. Both by the processor
time of one process, in turn, files in the page cache; ratio is bare time over read time, the median over pairs.
Results go to benchmarks/results/dicom_read.json.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
from environment import environment
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from imbal_jax.data.dicom.decoding import decoder_of
from imbal_jax.data.dicom.radiograph import load_radiograph, quiet

SIDE, SIZE = 2048, 224
# Where the window's ends fall on whole stored values, sums of stored values do; elsewhere floats are needed.
VARIANTS = {
    "window": {},
    "window_between_values": {"WindowWidth": 3001},
    "sigmoid": {"VOILUTFunction": "SIGMOID"},
    "no_window": {"WindowWidth": None},
}


def radiograph(bits: int) -> pydicom.Dataset:
    file = pydicom.dcmread(get_testdata_file("RG1_UNCR.dcm", download=False))
    picture = Image.fromarray(file.pixel_array.astype(np.float32)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    stored = np.clip(np.asarray(picture) / 2**15 * 2**bits, 0, 2**bits - 1)
    file.Rows = file.Columns = SIDE
    file.BitsStored, file.HighBit, file.BitsAllocated = bits, bits - 1, 16 if bits > 8 else 8
    file.WindowCenter, file.WindowWidth = (round(value / 2**15 * 2**bits) for value in (15000, 30000))
    file.PixelData = np.rint(stored).astype(np.uint16 if bits > 8 else np.uint8).tobytes()
    file["PixelData"].VR = "OW" if bits > 8 else "OB"
    return file


def jpeg() -> pydicom.Dataset:
    file, stream = radiograph(8), io.BytesIO()
    Image.fromarray(file.pixel_array).save(stream, "JPEG", quality=95)
    file.PixelData = encapsulate([stream.getvalue()])
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return file


def files(folder: Path) -> dict[str, Path]:
    made: dict[str, pydicom.Dataset] = {"jpeg_baseline": jpeg()}
    for name, elements in VARIANTS.items():
        made[f"uncompressed {name}"] = file = radiograph(12)
        for keyword, value in elements.items():
            setattr(file, keyword, value)
    for name, syntax in {
        "rle": RLELossless,
        "jpeg_ls": JPEGLSLossless,
        "jpeg_2000": JPEG2000Lossless,
    }.items():
        made[name] = file = radiograph(12)
        file.compress(syntax)
    made["deflated"] = file = radiograph(12)
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    paths = {name: folder / f"{name}.dcm" for name in made}
    for name, file in made.items():
        file.save_as(paths[name])
    return paths


def decode(path: Path) -> np.ndarray:
    file = pydicom.dcmread(path)
    syntax = file.file_meta.TransferSyntaxUID
    return pixel_array(file, decoding_plugin=decoder_of(syntax)[0] if syntax.is_compressed else "")


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "dicom_read.json")
    options = parser.parse_args()

    rows = {}
    about = environment()
    with tempfile.TemporaryDirectory() as folder, quiet():
        for name, path in sorted(files(Path(folder)).items()):
            times = {"bare": [], "read": []}
            for _ in range(options.repeats + 1):
                times["bare"].append(seconds(lambda path=path: decode(path)))
                times["read"].append(seconds(lambda path=path: load_radiograph(path, size=SIZE)))
            pairs = list(zip(times["bare"], times["read"], strict=True))[1:]  # the first is a warming up
            bare, read = (median(values) for values in zip(*pairs, strict=True))
            rows[name] = {
                "megabytes": round(path.stat().st_size / 1e6, 2),
                "bare_images_a_second": round(1 / bare, 1),
                "read_images_a_second": round(1 / read, 1),
                "milliseconds_more": round(1000 * (read - bare), 2),
                "ratio": round(median(bare / read for bare, read in pairs), 3),
            }
            print(f"{name:36}", rows[name])
    options.out.write_text(
        json.dumps({"environment": about, "repeats": options.repeats, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
