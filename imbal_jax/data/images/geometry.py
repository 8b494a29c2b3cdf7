"""How a picture of any size becomes a square array.

Training, evaluation, prediction, export and records share one geometry.

A network that was trained on squeezed pictures sees other shapes in padded ones, and gives other probabilities
without an error. So the geometry is stored with every run and every set of records, and everything that reads
pictures for them goes through ``Geometry.array`` (for DICOM files through ``resize.fit_levels`` with the same
values).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imbal_jax.data.images.pictures import LUMA, Picture, open_picture
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.images.resize import FITS, Fit, central_part, fit_square, fit_squares, lay_out
from imbal_jax.data.labels import IGNORED
from imbal_jax.errors import InputError
from imbal_jax.files import read_json, write_json

Voi = Literal["header", "percentile", "none"]
VOI: tuple[Voi, ...] = ("header", "percentile", "none")
FILE = "geometry.json"
TOGETHER = 256  # small pictures that are resized at once
COLOUR_DROPPED = "colour-dropped"  # the flag of a colour picture that became grey
FITTED = {
    "pad": (
        "keep the proportions: scale the longer side to the size, the shorter side to max(1, round(size * shorter / "
        "longer)), and centre on zeros, with (size - side) // 2 of them above and to the left"
    ),
    "squeeze": "scale height and width to the size, each by its own factor",
    "crop": (
        "keep the proportions: cut out the central square, round(rows * shorter / height) rows from (rows - kept) "
        "// 2 on and likewise columns, and scale it to the size"
    ),
    "square": "refuse pictures that are not square, scale the others to the size",
}


@dataclass(frozen=True)
class Geometry:
    """How a picture becomes an array uint8 or uint16 [size, size, channels].

    size: side of the square, pixels.
    fit: what happens to a picture that is not square. "pad" keeps its proportions, on black; "squeeze" scales both
        sides to the size; "crop" takes the central square; "square" refuses it, since the source of the training
        images does not say how they became squares.
    channels: 1 (colour becomes luma, ITU-R BT.601) or 3 (grey is repeated).
    bits: of a pixel, 8 or 16; the whole range stands for 0 to 1.
    voi: grey-scale window of DICOM files: "header", "percentile" or "none".

    Pictures are taken as they are meant to be seen: EXIF orientation applied, DICOM with dense tissue bright, its
    pixel aspect honoured, as stored otherwise.
    """

    size: int
    fit: Fit = "pad"
    channels: int = 1
    bits: int = 8
    voi: Voi = "header"

    def __post_init__(self) -> None:
        allowed = {
            "fit": FITS,
            "channels": (1, 3),
            "bits": (8, 16),
            "voi": VOI,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, allowed are {', '.join(map(str, values))}"
                )
        if not isinstance(self.size, int) or self.size < 1:
            raise InputError(f"size={self.size}: a picture needs at least one pixel")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.size, self.size, self.channels)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"uint{self.bits}")

    @property
    def options(self) -> dict[str, Any]:
        """The fields by name, as ``image_file.load_picture`` takes them."""
        return asdict(self)

    def __str__(self) -> str:
        window = "" if self.voi == "header" else f", DICOM window {self.voi}"
        return f"{self.size} pixels, {self.fit}, {self.channels} x {self.bits} bits{window}"

    def array(self, values: np.ndarray, aspect: float = 1.0) -> np.ndarray:
        """uint8 or uint16 [size, size, channels] of a picture float32 [h, w] or [h, w, 3] in [0, 1].

        aspect: height of a pixel over its width. Raises ReadError where ``fit`` refuses the picture.
        """
        planes = [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))
        if self.channels == 1:
            planes = [luma(values)]
        squares = [
            fit_square(np.ascontiguousarray(plane), self.size, aspect, self.bits, self.fit)
            for plane in planes
        ]
        return self.stack(squares)

    def open(self, source: bytes | Path) -> Picture:
        """A PNG, JPEG, TIFF or BMP file, or the bytes of one, in the channels that ``array`` takes."""
        return open_picture(source, colour=self.channels == 3, smallest=self.size)

    def picture(self, source: bytes | Path) -> tuple[np.ndarray, tuple[str, ...]]:
        """Array and flags of a PNG, JPEG, TIFF or BMP file, or of the bytes of one. ReadError as ``open_picture``."""
        opened = self.open(source)
        return self.array(opened.values), opened.flags

    def arrays(self, images: np.ndarray) -> np.ndarray:
        """The same of many pictures uint8 or uint16 [N, h, w] or [N, h, w, C], whose whole range stands for 0 to
        1."""
        images = images if images.ndim == 4 else images[..., None]
        if images.shape[1:] == self.shape and images.dtype == self.dtype:
            return images
        most = np.float32(np.iinfo(images.dtype).max)
        out = np.empty((len(images), *self.shape), self.dtype)
        for start in range(0, len(images), TOGETHER):
            values = images[start : start + TOGETHER, ..., :3].astype(np.float32) / most
            if self.channels == 1 and values.shape[-1] == 3:
                values = np.stack([luma(picture) for picture in values])[..., None]
            for c in range(self.channels):
                plane = np.ascontiguousarray(values[..., min(c, values.shape[-1] - 1)])
                out[start : start + TOGETHER, ..., c] = fit_squares(plane, self.size, self.bits, self.fit)
        return out

    def mask(self, pixels: np.ndarray, aspect: float = 1.0, *, beside: int = IGNORED) -> np.ndarray:
        """[size, size] or [size, size, C] of labels of pixels [h, w] or [h, w, C], fitted as their picture is.

        Each pixel of the square takes the label of the nearest pixel of the mask at the place where the picture is
        sampled, so that there are no values between two labels. aspect: as for ``array``. beside: the value of what
        is no picture, where ``fit`` pads. Raises ReadError as ``array``, and InputError where the type cannot hold
        ``beside``.
        """
        if pixels.dtype.kind in "iub" and beside < 0 and pixels.dtype.kind != "i":
            raise InputError(f"a mask of {pixels.dtype} cannot hold {beside}: give int8 or int16")
        at = self._place(pixels.shape[0], pixels.shape[1], aspect)
        square = np.full((self.size, self.size, *pixels.shape[2:]), beside, pixels.dtype)
        down = at.top + nearest(at.height, at.rows)
        across = at.left + nearest(at.width, at.columns)
        square[
            at.beside_rows : at.beside_rows + at.height, at.beside_columns : at.beside_columns + at.width
        ] = pixels[down[:, None], across]
        return square

    def restore(
        self, square: np.ndarray, height: int, width: int, aspect: float = 1.0, *, beside: float | None = None
    ) -> np.ndarray:
        """[height, width] or [height, width, C] of [size, size] or [size, size, C], what ``mask`` or ``array`` undo.

        square: whole numbers, of which the nearest is taken, or floats (probabilities), between which is interpolated
        linearly. height, width: of the upright picture that the square was made of, pixels. aspect: as for ``array``.
        beside: the value where ``fit`` cut the picture off, -1 of whole numbers, NaN of floats unless given.
        """
        at = self._place(height, width, aspect)
        part = square[
            at.beside_rows : at.beside_rows + at.height, at.beside_columns : at.beside_columns + at.width
        ]
        whole = square.dtype.kind in "iub"
        if beside is None:
            beside = IGNORED if whole else np.nan
        if beside < 0 and square.dtype.kind in "ub" and (at.rows, at.columns) != (height, width):
            raise InputError(f"a mask of {square.dtype} cannot hold {beside}: give int8 or int16")
        if whole:
            inside = part[nearest(at.rows, at.height)[:, None], nearest(at.columns, at.width)]
        else:
            inside = _linear(_linear(part, at.rows).swapaxes(0, 1), at.columns).swapaxes(0, 1)
        if (at.rows, at.columns) == (height, width):
            return np.ascontiguousarray(inside)
        out = np.full((height, width, *square.shape[2:]), beside, square.dtype)
        out[at.top : at.top + at.rows, at.left : at.left + at.columns] = inside
        return out

    def _place(self, rows: int, columns: int, aspect: float) -> "_Place":
        """Where a picture of ``rows`` x ``columns`` pixels lies in the square."""
        top = left = 0
        if self.fit == "crop":
            top, left, rows, columns = central_part(rows, columns, aspect)
        layout = lay_out(rows, columns, self.size, aspect, self.fit)
        beside = (self.size - layout.height) // 2, (self.size - layout.width) // 2
        return _Place(top, left, rows, columns, layout.height, layout.width, *beside)

    def stack(self, squares: list[np.ndarray]) -> np.ndarray:
        """[size, size, channels] of one plane, which is repeated, or of three."""
        if len(squares) < self.channels:
            squares = squares * self.channels
        return np.stack(squares, -1)

    def difference(self, other: "Geometry") -> str:
        """What differs, as "fit squeeze, not pad"; "" where both give the same arrays.

        Where one of them is "square" nothing is known that could differ in ``fit``.
        """
        unknown = "square" in (self.fit, other.fit)
        return ", ".join(
            f"{f.name} {getattr(other, f.name)}, not {getattr(self, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name) and not (f.name == "fit" and unknown)
        )

    def described(self) -> dict[str, Any]:
        """All that another program needs to make the same arrays, up to rounding, for ``model.json``."""
        most = 2**self.bits - 1
        colour = (
            f"a colour picture becomes {LUMA[0]} R + {LUMA[1]} G + {LUMA[2]} B"
            if self.channels == 1
            else "three planes red, green, blue; a grey picture is repeated three times"
        )
        return {
            "geometry": self.options,
            "range": [0, most],
            "preprocessing": {
                "picture": (
                    "PNG, JPEG, TIFF, BMP: 8 bits v / 255, 16 bits v / 65535 or v / the range that the file states "
                    "(sBIT, MaxSampleValue); 16 bits whose 99.5th percentile is below a quarter of the range, and "
                    "32 bits, from the 0.5th to the 99.5th percentile; EXIF orientation applied, palettes resolved, "
                    f"transparent pixels black in proportion; a JPEG decoded at the smallest of 1, 1/2, 1/4, 1/8 of "
                    f"its size with both sides at least {2 * self.size} pixels (imbal_jax.data.images.pictures)"
                ),
                "dicom": (
                    "modality LUT or rescale, then "
                    + {
                        "header": "the header's VOI LUT, else its first window, else the 0.5th to the 99.5th "
                        "percentile",
                        "percentile": "the 0.5th to the 99.5th percentile to 0 to 1",
                        "none": "the smallest to the largest value to 0 to 1",
                    }[self.voi]
                    + "; inverted last for MONOCHROME1, padding 0, height and width by the pixel spacing "
                    "(imbal_jax.data.dicom.radiograph.read_radiograph)"
                ),
                "channels": colour,
                "fit": FITTED[self.fit],
                "resize": (
                    "along each axis, of n source pixels to m: blocks of max(1, int(n / m / 2)) pixels are averaged "
                    "(the last one may be smaller), then a Hamming-windowed sinc filter, sinc(x) (0.54 + 0.46 "
                    "cos(pi x)) for |x| < 1, x in result pixels when shrinking and in source pixels when enlarging, "
                    "weights normalised to sum 1; as Pillow's Image.resize((width, height), HAMMING, "
                    "reducing_gap=2.0) on float pictures"
                ),
                "round": f"rint(clip(value, 0, 1) * {most}) as {self.dtype}",
            },
        }

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, self.options)

    @staticmethod
    def from_json(values: Mapping[str, Any], where: object) -> "Geometry":
        """InputError, naming ``where``, for values that are no geometry."""
        try:
            return Geometry(**values)
        except (TypeError, InputError) as error:
            raise InputError(
                f"{where} does not describe how pictures were made into arrays ({error})"
            ) from None

    @staticmethod
    def read(folder: Path, remedy: str) -> "Geometry | None":
        """What was written to ``folder``; None where nothing was. DamagedError, with ``remedy``, where it is
        damaged."""
        if not (folder / FILE).is_file():
            return None
        return Geometry.from_json(read_json(folder / FILE, remedy), folder / FILE)


@dataclass(frozen=True)
class _Place:
    """The part of a picture that is shown, from (top, left), and its height and width in the square, from beside."""

    top: int
    left: int
    rows: int
    columns: int
    height: int
    width: int
    beside_rows: int
    beside_columns: int


def nearest(size: int, length: int) -> np.ndarray:
    """int [size]: which of ``length`` pixels holds the middle of each of ``size`` pixels of the same extent."""
    return ((2 * np.arange(size) + 1) * length) // (2 * size)


def _linear(values: np.ndarray, size: int) -> np.ndarray:
    """Floats [n, ...] as [size, ...], between whose middles is interpolated; beyond the first and last are these."""
    length = len(values)
    at = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    low = at.astype(int)
    share = (at - low).astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - share) + values[np.minimum(low + 1, length - 1)] * share


@dataclass(frozen=True, kw_only=True)
class AskedGeometry:
    """A geometry as it is asked for: None stands for what the data set has."""

    size: int
    fit: Fit | None = None
    channels: int | None = None
    bits: int | None = None
    voi: Voi = "header"

    def geometry(self, fit: Fit = "pad", channels: int = 1, bits: int = 8) -> Geometry:
        """The geometry, with the arguments in place of None."""
        return Geometry(self.size, self.fit or fit, self.channels or channels, self.bits or bits, self.voi)


def luma(values: np.ndarray) -> np.ndarray:
    """float32 [h, w] of [h, w] or [h, w, 3], by ITU-R BT.601."""
    if values.ndim == 2:
        return values
    grey = np.zeros(values.shape[:2], np.float32)
    for place, share in enumerate(LUMA):  # in the order in which pictures.open_picture adds
        grey += values[..., place] * np.float32(share)
    return grey


def settle(asked: Fit | None, made: Fit, what: object, remedy: str) -> Fit:
    """The fit of a set whose pictures are squares already; InputError where another one is asked for.

    asked: None is whatever the set has. made: "square" where the set does not say.
    """
    if asked in (None, made, "square"):
        return made
    how = (
        "does not say how its pictures became squares"
        if made == "square"
        else f"holds squares made by {made}"
    )
    raise InputError(f"{what} {how}, {asked} is asked: {remedy}")


def published_picture(
    geometry: Geometry, data: bytes, name: str = "an image"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """``geometry.picture`` of the bytes of a file of a public set, whose name may be said; InputError for damage."""
    try:
        return geometry.picture(data)
    except ReadError as error:
        raise InputError(f"{name} cannot be decoded ({error}): fetch it again") from None
