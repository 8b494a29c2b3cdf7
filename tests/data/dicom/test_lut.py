"""Lookup tables and polarity against PS3.3 C.11 in float64, and against what dcmtk shows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from synthetic_films import MODALITIES, Film, Table, dcmtk_films, films, gamma

from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.lut import MalformedLutError, read_lut
from imbal_jax.data.dicom.radiograph import Radiograph, load_radiograph, quiet, render
from imbal_jax.data.images.refusal import FLAGS, ReadError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "dcmtk"
PLAIN = Film(Table(gamma(1024, 12), 700, 12))
WINDOW = (2000.0, 3001.0, "LINEAR")


def load(film: Film, folder: Path, **options: object) -> Radiograph:
    with quiet():
        return load_radiograph(film.write(folder / "a.dcm"), size=16, bits=16, **options)


def changed(film: Film, change) -> Radiograph:
    """The radiograph of a film whose data set was changed first."""
    file = film.dataset()
    change(file)
    with quiet():
        return render(file, size=16, bits=16)


def off(radiograph: Radiograph, shown: np.ndarray) -> float:
    return float(np.abs(radiograph.pixels / 65535 - shown).max())


@pytest.mark.parametrize("kind", MODALITIES)
def test_a_table_shows_what_the_standard_says_however_it_is_written(kind: str, tmp_path: Path) -> None:
    # A prime step meets every depth, packing, byte order, place and polarity with every kind of modality.
    chosen = {name: film for name, film in list(films().items())[::17] if name.startswith(f"{kind},")}
    assert len(chosen) > 8
    for name, film in chosen.items():
        radiograph = load(film, tmp_path)
        assert off(radiograph, film.shown()) < 2e-5, name
        assert radiograph.windowed, name
        assert radiograph.flags == (), name


def test_tables_windows_and_polarity_show_what_dcmtk_shows(tmp_path: Path) -> None:
    theirs = np.load(FIXTURES / "shown.npy")
    assert len(theirs) == len(dcmtk_films()) > 80
    for (name, film), picture in zip(dcmtk_films().items(), theirs, strict=True):
        with quiet():
            ours = load_radiograph(film.write(tmp_path / "a.dcm"), size=16).pixels
        # dcmtk divides by 2^bits, and takes the entry below a value between two entries.
        assert np.abs(ours.astype(int) - picture).max() <= (2 if name.startswith("fraction") else 1), name


def test_an_entry_count_of_0_is_65536(tmp_path: Path) -> None:
    table = Table(gamma(65536, 16), 0, 16, "OW")
    film = Film(table, low=0, high=65535, bits=16)
    assert off(load(film, tmp_path), film.shown()) < 2e-5


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("syntax", ["little", "implicit", "big"])
def test_a_first_value_is_signed_where_the_modalitys_output_is(vr: str, syntax: str, tmp_path: Path) -> None:
    for signed, low, modality, first in ((False, 0, (1, -1024), -900), (True, -2048, (1, 35000), 33000)):
        film = Film(
            Table(gamma(2048, 12), first, 12, vr=vr),
            modality=modality,
            low=low,
            high=low + 4095,
            signed=signed,
            syntax=syntax,
        )
        assert off(load(film, tmp_path), film.shown()) < 2e-5


@pytest.mark.parametrize("packing", ["packed OW", "packed US", "packed OB"])
@pytest.mark.parametrize("syntax", ["little", "big"])
def test_an_odd_number_of_packed_entries_is_read_to_the_last(
    packing: str, syntax: str, tmp_path: Path
) -> None:
    film = Film(Table(gamma(1023, 8), 700, 8, packing), syntax=syntax)
    assert off(load(film, tmp_path), film.shown()) < 2e-5


def test_a_table_is_read_the_same_before_and_after_pydicom_has_decoded_it(tmp_path: Path) -> None:
    for syntax in ("little", "big"):
        for packing in ("OW", "packed OW", "packed OB"):
            film = Film(Table(gamma(1024, 8), 700, 8, packing), syntax=syntax)
            file = open_dicom(film.write(tmp_path / "a.dcm"))
            assert file.VOILUTSequence[0].LUTDescriptor[0] == 1024
            assert len(file.VOILUTSequence[0].LUTData)
            with quiet():
                assert off(render(file, size=16, bits=16), film.shown()) < 2e-5


def item(descriptor: list[int], data: list[int] | bytes) -> Dataset:
    made = Dataset()
    made.add_new(0x00283002, "US", descriptor)
    made.add_new(0x00283006, "OW" if isinstance(data, bytes) else "US", data)
    return made


MALFORMED = {
    "two values in the descriptor": item([256, 0], list(range(256))),
    "7 bits": item([128, 0, 7], list(range(128))),
    "17 bits": item([256, 0, 17], list(range(256))),
    "0 bits": item([256, 0, 0], list(range(256))),
    "too many entries": item([256, 0, 16], list(range(258))),
    "too few entries": item([256, 0, 16], list(range(255))),
    "half of the entries at 16 bits": item([256, 0, 16], list(range(128))),
    "less than half of the entries at 8 bits": item([256, 0, 8], list(range(127))),
    "entries beyond the bits": item([256, 0, 8], list(range(1, 257))),
    "one grey": item([3, 0, 16], [7, 7, 7]),
    "no data": item([3, 0, 16], b""),
    "no table": Dataset(),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_table_is_flagged_for_the_voi_and_refused_for_the_modality(name: str) -> None:
    with pytest.raises(MalformedLutError) as error:
        read_lut(MALFORMED[name], big_endian=False)
    assert error.value.__cause__ is None
    film = Film(window=WINDOW)
    voi = changed(film, lambda file: setattr(file, "VOILUTSequence", Sequence([MALFORMED[name]])))
    assert off(voi, film.shown()) < 2e-5
    assert voi.windowed
    assert voi.flags == ("voi-lut-unused", "several-views")
    with pytest.raises(ReadError, match="bad-header"):
        changed(film, lambda file: setattr(file, "ModalityLUTSequence", Sequence([MALFORMED[name]])))


def test_a_table_that_leaves_plain_black_and_white_is_flagged_with_or_without_a_window(
    tmp_path: Path,
) -> None:
    beside = replace(PLAIN, voi=Table(gamma(16, 12), 30000, 12))
    assert load(beside, tmp_path).flags == ("unwindowed", "voi-lut-unused")
    assert load(replace(beside, window=WINDOW), tmp_path).flags == ("voi-lut-unused", "several-views")
    # Where the header's transform is not asked for, nothing was left out.
    assert load(beside, tmp_path, voi="percentile").flags == ()


def test_several_views_are_flagged_and_the_first_is_shown(tmp_path: Path) -> None:
    other = Table(gamma(64, 12)[::-1], 0, 12).item("<")
    both = changed(PLAIN, lambda file: file.VOILUTSequence.append(other))
    assert off(both, PLAIN.shown()) < 2e-5
    assert both.flags == ("several-views",)
    assert load(replace(PLAIN, window=WINDOW), tmp_path).flags == ("several-views",)
    film = Film(window=WINDOW)

    def second_window(file: Dataset) -> None:
        file.WindowCenter, file.WindowWidth = [WINDOW[0], 100], [WINDOW[1], 50]

    assert changed(film, second_window).flags == ("several-views",)
    assert off(changed(film, second_window), film.shown()) < 2e-5


def test_a_table_that_uses_little_of_its_declared_range_is_dim_and_flagged(tmp_path: Path) -> None:
    film = replace(PLAIN, voi=Table(gamma(1024, 12), 700, 16))
    radiograph = load(film, tmp_path)
    assert off(radiograph, film.shown()) < 2e-5
    assert radiograph.pixels.max() < 65535 / 15
    assert radiograph.flags == ("voi-lut-dim",)


@pytest.mark.parametrize(
    ("width", "windowed", "flag"),
    [(8000.0, True, ()), (20000.0, True, ("window-dim",)), (1e7, False, ("unwindowed",))],
)
def test_a_window_that_shows_few_greys_is_flagged_and_one_grey_is_no_window(
    width: float, windowed: bool, flag: tuple[str, ...], tmp_path: Path
) -> None:
    film = Film(window=(2000.0, width, "LINEAR"))
    radiograph = load(film, tmp_path)
    assert (radiograph.windowed, radiograph.flags) == (windowed, flag)
    if windowed:
        assert off(radiograph, film.shown()) < 2e-5


def test_a_table_of_which_the_picture_needs_little_is_dim_and_flagged(tmp_path: Path) -> None:
    film = Film(Table(gamma(4096, 12), 0, 12), low=0, high=400)
    radiograph = load(film, tmp_path)
    assert radiograph.flags == ("voi-lut-dim",)
    assert off(radiograph, film.shown()) < 2e-5


def test_a_frames_own_window_counts_before_the_roots_table() -> None:
    film = Film(window=WINDOW, place="frame")
    table = Sequence([PLAIN.voi.item("<")])
    mixed = changed(film, lambda file: setattr(file, "VOILUTSequence", table))
    assert off(mixed, film.shown()) < 2e-5
    assert mixed.flags == ()


def test_an_empty_item_of_a_functional_group_leaves_what_the_root_says() -> None:
    film = replace(PLAIN, modality=(0.5, -100))

    def group(file: Dataset) -> None:
        item = Dataset()
        item.FrameVOILUTSequence = item.PixelValueTransformationSequence = Sequence([Dataset()])
        file.SharedFunctionalGroupsSequence = Sequence([item])

    assert off(changed(film, group), film.shown()) < 2e-5


def test_rescaling_beside_a_modality_table_is_flagged() -> None:
    film = Film(modality=Table(gamma(4096, 12), 0, 12), window=WINDOW)

    def rescale(file: Dataset) -> None:
        file.RescaleSlope, file.RescaleIntercept = 2, -100

    both = changed(film, rescale)
    assert off(both, film.shown()) < 2e-5
    assert both.flags == ("contradictory-modality",)


@pytest.mark.parametrize(
    ("polarity", "shape", "inverted", "flags"),
    [
        ("MONOCHROME1", "", True, ()),
        ("MONOCHROME2", "", False, ()),
        ("MONOCHROME1", "INVERSE", True, ()),
        ("MONOCHROME2", "IDENTITY", False, ()),
        ("MONOCHROME1", "IDENTITY", False, ("contradictory-polarity",)),
        ("MONOCHROME2", "INVERSE", True, ("contradictory-polarity",)),
        ("MONOCHROME1", "LIN OD", True, ("presentation-lut-unused",)),
    ],
)
def test_the_shape_decides_on_the_polarity_and_a_contradiction_is_flagged(
    polarity: str, shape: str, inverted: bool, flags: tuple[str, ...], tmp_path: Path
) -> None:
    plain = Film(window=WINDOW).shown()
    radiograph = load(Film(window=WINDOW, polarity=polarity, shape=shape), tmp_path)
    assert off(radiograph, 1 - plain if inverted else plain) < 2e-5
    assert radiograph.flags == flags
    assert set(flags) <= set(FLAGS)


def test_a_presentation_lut_sequence_is_flagged() -> None:
    table = Sequence([item([256, 0, 10], list(range(256)))])
    film = Film(window=WINDOW)
    radiograph = changed(film, lambda file: setattr(file, "PresentationLUTSequence", table))
    assert radiograph.flags == ("presentation-lut-unused",)
    assert off(radiograph, film.shown()) < 2e-5


def test_a_linear_window_of_width_1_is_a_step_and_no_picture(tmp_path: Path) -> None:
    radiograph = load(Film(window=(2000.0, 1.0, "LINEAR")), tmp_path)
    assert not radiograph.windowed
    assert radiograph.flags == ("unwindowed",)
