"""Reads damaged copies of real DICOM files, in a process of its own: python mutated_dicom.py FIRST LAST FOLDER.

Copy number i is the same on every machine. For each it prints a line: before, its number; after, what became of it.
"""

import io
import resource
import sys
import time
import traceback
from pathlib import Path

import data_store
import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from imbal_jax.data.dicom.radiograph import load_radiograph, quiet
from imbal_jax.data.images.refusal import REASONS, ReadError

MEMORY = 8 * 2**30  # address space, so that a mistake kills this process and not the machine
WHEEL, MORE = Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data"
# Every transfer syntax, signed and unsigned, 8 to 32 bits, tables, padding, several frames.
IN_WHEEL = """
    MR_small.dcm MR_small_implicit.dcm MR_small_bigendian.dcm MR_small_RLE.dcm MR_small_jp2klossless.dcm
    MR_small_jpeg_ls_lossless.dcm MR_small_padded.dcm JPEGLSNearLossless_08.dcm JPEGLSNearLossless_16.dcm
    JPEG2000.dcm 693_J2KI.dcm JPGExtended.dcm image_dfl.dcm CT_small.dcm rtdose_1frame.dcm rtdose_rle_1frame.dcm
    rtdose.dcm dicomdirtests/77654033/CR1/6154 examples_overlay.dcm
"""
IN_DATA = """
    emri_small.dcm emri_small_RLE.dcm emri_small_jpeg_2k_lossless.dcm emri_small_jpeg_ls_lossless.dcm JPEG-LL.dcm
    vlut_04.dcm mlut_18.dcm eCT_Supplemental.dcm RG3_J2KI.dcm
"""
BASES = [WHEEL / name for name in IN_WHEEL.split()] + [MORE / name for name in IN_DATA.split()]
EXTREMES = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xfe\xff\xff\xff",
    b"\xff\xff",
    b"\0\0",
]


def jpeg_baseline() -> bytes:
    """No file of the collections is grey JPEG of 8 bits: one made of an MR."""
    file = pydicom.dcmread(WHEEL / "MR_small.dcm")
    pixels = file.pixel_array.astype(float)
    stream = io.BytesIO()
    Image.fromarray((pixels / pixels.max() * 255).astype(np.uint8)).save(stream, "JPEG")
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.PixelData = encapsulate([stream.getvalue()])
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    stream = io.BytesIO()
    file.save_as(stream)
    return stream.getvalue()


def mutate(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One to three kinds of damage: in the header, at the start of the picture, or anywhere."""
    content = bytearray(content)
    pixels = max(content.rfind(b"\xe0\x7f\x10\x00"), content.rfind(b"\x7f\xe0\x00\x10"), 200)
    regions = [(132, pixels), (pixels, pixels + 200), (pixels + 8, pixels + 2000), (128, len(content))]
    for _ in range(rng.integers(1, 4)):
        first, last = regions[rng.choice(4, p=[0.2, 0.3, 0.3, 0.2])]
        last = min(last, len(content))
        if last - first < 2:
            continue
        place, length = int(rng.integers(first, last)), int(2 ** rng.uniform(0, 10))
        match int(rng.choice(8, p=[0.35, 0.15, 0.15, 0.03, 0.03, 0.05, 0.12, 0.12])):
            case 0:  # some bytes, anything
                for at in rng.integers(first, last, rng.integers(1, 12)):
                    content[at] = rng.integers(256)
            case 1:  # one bit
                content[place] ^= 1 << int(rng.integers(8))
            case 2:  # a length or a size
                extreme = EXTREMES[rng.integers(len(EXTREMES))]
                content[place : place + len(extreme)] = extreme
            case 3:  # cut off
                content = content[:place]
            case 4:  # a piece lost
                del content[place : place + length]
            case 5:  # a piece twice
                content[place:place] = content[place : place + length]
            case 6:  # a piece of another file
                start = int(rng.integers(len(other)))
                piece = other[start : start + length]
                content[place : place + len(piece)] = piece
            case 7:  # a hole
                content[place : place + length] = bytes(len(content[place : place + length]))
    return bytes(content)


def peak_mebibytes() -> int:
    """The most memory that this process took; Linux counts in ru_maxrss what its parent had taken before."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(first: int, last: int, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    bases = [path.read_bytes() for path in BASES] + [jpeg_baseline()]
    path = folder / "mutated.dcm"
    with quiet():
        for number in range(first, last):
            rng = np.random.default_rng([20260, number])
            whole, other = (bases[index] for index in rng.integers(len(bases), size=2))
            path.write_bytes(mutate(whole, other, rng))
            bits, frame = int(rng.choice([8, 16])), [None, 0, 1][rng.choice(3, p=[0.5, 0.4, 0.1])]
            print(number, flush=True)
            start = time.process_time()
            try:
                pixels = load_radiograph(path, size=64, bits=bits, frame=frame).pixels
                assert pixels.shape == (64, 64)
                assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
                outcome = "read"
            except ReadError as error:
                plain = str(error).startswith(f"{error.reason}: {REASONS[error.reason]}")
                outcome = error.reason if plain and error.__context__ is None else "CRASH: it says too much"
            except BaseException as error:
                outcome = f"CRASH {type(error).__name__} {traceback.extract_tb(error.__traceback__)[-1]}"
            print(f"{number} {time.process_time() - start:.3f} {peak_mebibytes()} {outcome}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
