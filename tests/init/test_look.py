from pathlib import Path

import numpy as np
from dicom_files import RAMP, write
from PIL import Image

from imbal_jax.init import look as module
from imbal_jax.init.look import look, look_at_arrays


def test_kinds_sizes_and_colours_are_those_of_the_files(tmp_path: Path) -> None:
    grey = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)
    colour = np.zeros((40, 24, 3), np.uint8)
    colour[..., 0] = 200
    Image.fromarray(grey).save(tmp_path / "a.png")  # 16 bits
    Image.fromarray((grey % 256).astype(np.uint8)).save(tmp_path / "b.bmp")
    Image.fromarray(colour).save(tmp_path / "c.jpg")
    Image.fromarray(np.repeat(colour[..., :1], 3, -1)).save(
        tmp_path / "d.tif"
    )  # three equal channels are grey
    write(tmp_path / "e.dcm", RAMP)
    (tmp_path / "f.png").write_text("no picture")
    found = look(tmp_path, sorted(path.name for path in tmp_path.iterdir()))
    assert found.kinds == {"PNG": 1, "BMP": 1, "JPEG": 1, "TIFF": 1, "DICOM": 1}
    sizes = sorted(zip(found.heights.tolist(), found.widths.tolist(), strict=True))
    assert sizes == [(20, 30), (20, 30), (40, 24), (40, 24), (64, 64)]
    assert (found.colour, found.refused, found.looked_at) == (1, 1, 6)
    assert not found.in_colour
    assert found.side == 40
    assert "3 sizes, heights and widths from 20 x 24 to 64 x 64" in found.lines(6)[0]


def test_of_many_files_some_are_opened_and_it_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 3)
    for number in range(5):
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / f"{number}.png")
    assert look(tmp_path, [f"{n}.png" for n in range(5)]).lines(5) == [
        "pictures: PNG 3 (3 of 5 opened); all 8 x 8 pixels (height x width); grey"
    ]


def test_arrays_have_one_size() -> None:
    found = look_at_arrays(7, (28, 28, 3), "arrays of uint8")
    assert found.in_colour
    assert found.lines(7) == [
        "pictures: arrays of uint8 7 (all); all 28 x 28 pixels (height x width); in colour"
    ]
