"""Reasons for refusing a file and flags of files that are read: fixed words, with nothing of the file in them."""

from imbal_jax.data.images.formats import OTHERS, READ, reason_of
from imbal_jax.errors import InputError

# Limits are checked before decompression, so that a small file cannot exhaust a machine. The largest digital
# radiographs have about 18 megapixels of 16 bits.
FILE_LIMIT = 512 * 2**20  # bytes
INFLATED_LIMIT = 256 * 2**20  # bytes of a deflated file after inflating
# Reads while a header is parsed, one to three for each element and item. A radiograph takes hundreds; 500 frames with
# their own functional groups take about 30,000. At the limit, parsing takes 20 MiB and a second.
READS_LIMIT = 2**16
SIDE_LIMIT = 32_768  # rows, columns
PIXEL_LIMIT = 100_000_000
FRAME_LIMIT = 16_384
DECODED_LIMIT = 128 * 2**20  # bytes of one decoded frame, at up to 16 bits a pixel
# The same beyond 16 bits, where reading takes ten times as much memory; radiographs do not have them.
WIDE_LIMIT = 32 * 2**20

REASONS = {
    "missing": "there is no such file, or it may not be read",
    "not-an-image": f"neither a DICOM file nor a picture: {READ}",
    **{reason_of(name): f"{name}, which is not read: {READ}" for name in OTHERS},
    "no-preamble": (
        "a DICOM data set without preamble and file meta information, which say how it is encoded: "
        "convert it to a DICOM file, for example with dcmconv of dcmtk"
    ),
    "no-pixels": "a DICOM file without pixels, or cut off before them",
    "bad-header": "rows, columns, bits or another attribute that describes the pixels is absent or invalid",
    "multi-frame": "more than one frame: ask for the frame that is the radiograph, or export it",
    "no-such-frame": "fewer frames than the one that was asked for",
    "colour": "not a grey image",
    "for-processing": (
        "raw detector values (presentation intent or SOP class FOR PROCESSING): export for presentation"
    ),
    "burned-in-text": "the header says that text is burned into the pixels, which may name the patient",
    "too-large": (
        f"more than {SIDE_LIMIT} rows or columns, {PIXEL_LIMIT // 1_000_000} megapixels, {FRAME_LIMIT} frames, "
        f"{READS_LIMIT // 2:,} elements and sequence items in the header, "
        f"{FILE_LIMIT // 2**20} MiB a file, or {DECODED_LIMIT // 2**20} MiB a decoded frame "
        f"({WIDE_LIMIT // 2**20} beyond 16 bits)"
    ),
    "no-decoder": "no decoder for this compression is installed",
    "unsupported-picture": "a rare kind of PNG, JPEG, TIFF or BMP: save it with 8 or 16 bits a sample, grey or RGB",
    "undecodable": "the pixels cannot be decoded: fewer than the header promises, or damaged",
    "contradiction": "the compressed picture has another size or depth than the header says",
    "truncated": "the file or its picture ends before its end: copy it again from the archive",
    "non-finite": "NaN or infinite pixels",
    "constant": "every pixel is the same, or 99 of 100 are",
    "half-empty": "the lower half, but not the upper edge, is one value: cut off in transfer",
    "not-square": "the picture is not square, and the training images do not say how others became squares",
    "saturated": "98 of 100 pixels are plain black or white: a mask, or an exposure that shows nothing",
}

# Flags of pictures that were read, for the user who decides what to train on.
FLAGS = {
    "unwindowed": "the header's grey-scale window was asked for and absent or unusable: scaled by percentiles",
    "voi-lut-unused": (
        "a VOI LUT in the header was not used: it is malformed, or leaves plain black and white; "
        "the window was used instead, or percentiles"
    ),
    "voi-lut-dim": "the VOI LUT shows less than a quarter of the greys that it declares",
    "window-dim": "the window is so wide that it shows less than a quarter of the greys",
    "several-views": "several windows or VOI LUTs in the header: the first was used, a VOI LUT before a window",
    "contradictory-polarity": (
        "PhotometricInterpretation and PresentationLUTShape contradict each other: the shape was followed"
    ),
    "contradictory-modality": "a modality LUT beside rescaling: the LUT was used, as the standard has one of them",
    "presentation-lut-unused": "a presentation LUT other than IDENTITY and INVERSE was not applied",
    "shutter-unused": "a display shutter was not applied: it is malformed, or would hide the whole picture",
    "burned-in-unknown": "the header does not say that the pixels are free of burned-in text",
    "not-radiography": "the modality is not CR, DX, RG or MG",
    "not-chest": "the body part examined is not the chest",
    "body-part-unknown": "the header names no body part",
    "lateral": "a lateral view",
    "orientation": "the header says that the picture is mirrored or turned (PatientOrientation): taken as stored",
    "lossy": "compressed with loss, now or earlier",
    "range-guessed": "more than 8 bits that fill a small part of their range, or have none: scaled by percentiles",
    "colour-dropped": "a colour picture made grey",
    "enlarged": "fewer source pixels than pixels of the result",
    "excess-pixels": "more pixel bytes than the header accounts for",
    "bits-cut": "bits that are not stored, by the header, were set and left out: garbage, or too few bits stored",
}


class ReadError(InputError):
    """A file that is refused; ``reason`` is a key of REASONS.

    The text never holds a file name or a header value: patients' names travel in both, and error texts end up
    in logs.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {REASONS[reason]}" + (f" ({remedy})" if remedy else ""))
        self.reason, self.remedy = reason, remedy

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # so that worker processes can hand it back
        return ReadError, (self.reason, self.remedy)
