"""Reads one image file, DICOM or picture, by a geometry."""

from dataclasses import replace
from pathlib import Path

from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.header import pixel_aspect
from imbal_jax.data.dicom.radiograph import Radiograph, load_radiograph
from imbal_jax.data.images.geometry import Geometry, Voi
from imbal_jax.data.images.memory_budget import one_file
from imbal_jax.data.images.pictures import is_picture
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.images.resize import Fit
from imbal_jax.data.masks.mask_file import picture_size

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
CACHE_FORMAT = 8  # raised whenever the same file would be read as other pixels or with other flags


def load_picture(
    path: Path, *, size: int, voi: Voi = "header", bits: int = 8, fit: Fit = "pad", channels: int = 1
) -> Radiograph:
    """Read a DICOM, PNG, JPEG, TIFF or BMP file; call it inside ``quiet()``.

    Pictures are taken as they are: public sets publish dense tissue as bright. The pixels are [size, size], or
    [size, size, 3] for 3 channels. Raises ReadError.
    """
    geometry = Geometry(size, fit, channels, bits, voi)
    with one_file():
        if not is_picture(path):
            radiograph = load_radiograph(path, size=size, voi=voi, bits=bits, fit=fit)
            if channels == 1:
                return radiograph
            return replace(radiograph, pixels=geometry.stack([radiograph.pixels]))
        picture = geometry.open(path)
        if picture.values.min() == picture.values.max():
            raise ReadError("constant")
        pixels = geometry.array(picture.values)
        return Radiograph(
            pixels[..., 0] if channels == 1 else pixels,
            "range-guessed" not in picture.flags,
            "",
            picture.flags,
        )


def upright_size(path: Path) -> tuple[int, int, int, float]:
    """Height and width of the upright picture, its EXIF orientation, and the height of a pixel over its width.

    Of a picture or a DICOM file, of which no pixel is read; what ``Geometry.restore`` needs. Raises ReadError.
    """
    if is_picture(path):
        return (*picture_size(path), 1.0)
    header = open_dicom(path, pixels=False)
    try:
        return int(header.Rows), int(header.Columns), 1, pixel_aspect(header)
    except (AttributeError, TypeError, ValueError):
        raise ReadError("bad-header") from None
