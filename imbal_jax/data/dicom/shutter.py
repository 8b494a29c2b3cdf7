"""The display shutter: the part of a picture that a viewer covers (PS3.3 C.7.6.11 and C.7.6.15).

Pixels inside all of rectangle, circle and polygon are visible; a bitmap covers the pixels that it marks. Covered
pixels show the presentation value, black by default. They are the area outside the collimator, or a border that a
technologist cut off, and must not count towards percentiles.
"""

from dataclasses import dataclass

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from pydicom.tag import Tag

from imbal_jax.data.dicom.header import attribute, is_big_endian, number, numbers
from imbal_jax.data.images.refusal import SIDE_LIMIT

WHITE = 65535  # of ShutterPresentationValue, a P-value
VERTICES = 1024
EDGES = (
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
)


@dataclass(frozen=True)
class Shutter:
    """hidden: bool [rows, columns], the covered pixels; None where none is. grey: what they show, in [0, 1].
    usable: False where the header has a shutter that cannot be applied."""

    hidden: np.ndarray | None = None
    grey: float = 0.0
    usable: bool = True


class MalformedShutterError(ValueError):
    """A shape whose numbers are absent or invalid."""


def display_shutter(file: pydicom.Dataset, header: pydicom.Dataset) -> Shutter:
    """The shutter of one frame, whose header is ``header``; ``file`` has the overlay of a bitmap shutter."""
    shapes = attribute(header, "ShutterShape")
    if shapes is None or shapes == "":
        return Shutter()
    shape = file.Rows, file.Columns
    hidden = np.zeros(shape, bool)
    try:
        for name in [shapes] if isinstance(shapes, str) else list(shapes):
            match str(name).strip().upper():
                case "RECTANGULAR":
                    hidden |= outside_rectangle(header, shape)
                case "CIRCULAR":
                    hidden |= outside_circle(header, shape)
                case "POLYGONAL":
                    hidden |= outside_polygon(header, shape)
                case "BITMAP":
                    hidden |= under_bitmap(file, header, shape)
                case _:
                    raise MalformedShutterError(name)
    except Exception:
        return Shutter(usable=False)
    if not hidden.any():
        return Shutter()
    if hidden.all():
        return Shutter(usable=False)
    value = number(header, "ShutterPresentationValue", 0)
    return Shutter(hidden, float(np.clip(value, 0, WHITE)) / WHITE if np.isfinite(value) else 0.0)


def required(header: pydicom.Dataset, keyword: str, count: int) -> list[float]:
    """The numbers of an attribute, at least ``count``, none far beyond the largest picture."""
    values = numbers(header, keyword)
    if values is None or len(values) < count or max(map(abs, values)) > 4 * SIDE_LIMIT:
        raise MalformedShutterError(keyword)
    return values


def outside_rectangle(header: pydicom.Dataset, shape: tuple[int, int]) -> np.ndarray:
    """The edges are pixels that are seen; rows and columns count from 1."""
    left, right, upper, lower = (round(required(header, keyword, 1)[0]) for keyword in EDGES)
    if left > right or upper > lower:
        raise MalformedShutterError
    hidden = np.ones(shape, bool)
    hidden[max(upper - 1, 0) : max(lower, 0), max(left - 1, 0) : max(right, 0)] = False
    return hidden


def outside_circle(header: pydicom.Dataset, shape: tuple[int, int]) -> np.ndarray:
    row, column = required(header, "CenterOfCircularShutter", 2)[:2]
    radius = required(header, "RadiusOfCircularShutter", 1)[0]
    if radius <= 0:
        raise MalformedShutterError
    hidden = np.ones(shape, bool)
    rows = np.arange(1, shape[0] + 1)
    half = np.sqrt(np.maximum(radius**2 - (rows - row) ** 2, 0))
    for index in np.flatnonzero(np.abs(rows - row) <= radius):
        first, last = np.ceil(column - half[index]), np.floor(column + half[index])
        hidden[index, max(int(first) - 1, 0) : max(int(last), 0)] = False
    return hidden


def outside_polygon(header: pydicom.Dataset, shape: tuple[int, int]) -> np.ndarray:
    """Vertices are rows and columns in turn, and the last is joined to the first; the border is seen."""
    values = required(header, "VerticesOfThePolygonalShutter", 6)
    if len(values) % 2 or len(values) > 2 * VERTICES:
        raise MalformedShutterError
    mask = Image.new("1", shape[::-1], 1)
    vertices = [(column - 1, row - 1) for row, column in zip(values[::2], values[1::2], strict=True)]
    ImageDraw.Draw(mask).polygon(vertices, fill=0, outline=0)
    return np.array(mask, bool)


def under_bitmap(file: pydicom.Dataset, header: pydicom.Dataset, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that are 1 in the overlay of the shutter's group (PS3.3 C.9.2)."""
    group = int(required(header, "ShutterOverlayGroup", 1)[0])
    if not 0x6000 <= group <= 0x601E:
        raise MalformedShutterError
    rows, columns, origin, data = (
        file[Tag(group, place)].value for place in (0x0010, 0x0011, 0x0050, 0x3000)
    )
    if not (0 < rows <= SIDE_LIMIT and 0 < columns <= SIDE_LIMIT) or 8 * len(data) < rows * columns:
        raise MalformedShutterError
    words = np.frombuffer(data[: len(data) // 2 * 2], np.uint8)
    if is_big_endian(file) and file[Tag(group, 0x3000)].VR == "OW":
        words = words.reshape(-1, 2)[:, ::-1].ravel()
    bits = np.unpackbits(words, bitorder="little", count=rows * columns).reshape(rows, columns)
    top, left = (int(value) - 1 for value in origin)
    hidden = np.zeros(shape, bool)
    inside = bits[max(-top, 0) : max(shape[0] - top, 0), max(-left, 0) : max(shape[1] - left, 0)]
    hidden[max(top, 0) : max(top, 0) + inside.shape[0], max(left, 0) : max(left, 0) + inside.shape[1]] = (
        inside
    )
    return hidden
