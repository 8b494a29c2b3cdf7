"""Each file of pydicom and of pydicom-data: read to the array the standard says, or refused with a reason."""

from importlib.util import find_spec
from pathlib import Path

import data_store
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import pixel_array

from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.radiograph import Radiograph, load_radiograph, quiet, read_radiograph, render
from imbal_jax.data.images.refusal import FLAGS, ReadError

ROOTS = (Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data")
# pydicom's own modules lie among its data.
FILES = {
    path.relative_to(root).as_posix().removeprefix("test_files/"): path
    for root in ROOTS
    for path in sorted(root.rglob("*"))
    if path.is_file() and path.suffix not in (".py", ".pyc")
}

ICONS = [  # of CT and MR, 16x16
    name for name in FILES if name.startswith("dicomdirtests/") and name.split("/")[-2][:2] in ("CT", "MR")
]

REFUSED = {
    # Tables, texts and colour profiles; and DICOM that begins with neither preamble nor meta information.
    "not-an-image": """
        charset_files/FileInfo.txt crayons.icc dicomdirtests/README.txt dicomdirtests/TINY_ALPHA/README
        hashes.json palettes/README.md README.txt rtplan.dump rtstruct.dump test1.json test_PN.json urls.json
        zipMR.gz no_meta.dcm
    """,
    "no-preamble": "ExplVR_BigEndNoMeta.dcm ExplVR_LitEndNoMeta.dcm OT-PAL-8-face.dcm rtstruct.dcm",
    # Directories, palettes, plans, structure sets, reports, waveforms; and a picture cut off in its first frame.
    "no-pixels": """
        charset_files/chrJapMulti.dcm charset_files/chrJapMultiExplicitIR6.dcm charset_files/chrKoreanMulti.dcm
        charset_files/chrSQEncoding.dcm charset_files/chrSQEncoding1.dcm
        palettes/fall.dcm palettes/hotiron.dcm palettes/hotmetalblue.dcm palettes/pet.dcm palettes/pet20step.dcm
        palettes/spring.dcm palettes/summer.dcm palettes/winter.dcm
        dicomdirtests/DICOMDIR dicomdirtests/DICOMDIR-bigEnd dicomdirtests/DICOMDIR-empty.dcm
        dicomdirtests/DICOMDIR-implicit dicomdirtests/DICOMDIR-nooffset dicomdirtests/DICOMDIR-nopatient
        dicomdirtests/DICOMDIR-reordered dicomdirtests/TINY_ALPHA/DICOMDIR
        UN_sequence.dcm empty_charset_LEI.dcm no_meta_group_length.dcm priv_SQ.dcm reportsi.dcm
        reportsi_with_empty_number_tags.dcm rtplan.dcm test-SR.dcm waveform_ecg.dcm
        emri_small_jpeg_2k_lossless_too_short.dcm
    """,
    # NumberOfFrames "1A"; a file without transfer syntax; pixels of no rows.
    "bad-header": "badVR.dcm meta_missing_tsyntax.dcm nested_priv_SQ.dcm",
    "truncated": "MR_truncated.dcm rtplan_truncated.dcm",
    # No decoder takes the first's scan header or the second's image size.
    "undecodable": "JPEG-lossy.dcm JPEG2000-embedded-sequence-delimiter.dcm",
    "multi-frame": """
        rtdose.dcm rtdose_expb.dcm rtdose_rle.dcm eCT_Supplemental.dcm emri_small.dcm emri_small_RLE.dcm
        emri_small_big_endian.dcm emri_small_jpeg_2k_lossless.dcm emri_small_jpeg_ls_lossless.dcm liver.dcm
        liver_expb.dcm
    """,
    # Segmentations: every pixel is 0 or 1.
    "saturated": "liver_1frame.dcm liver_expb_1frame.dcm",
    # RGB, YBR, palette.
    "colour": """
        ExplVR_BigEnd.dcm GDCMJ2K_TextGBR.dcm SC_jpeg_no_color_transform.dcm SC_jpeg_no_color_transform_2.dcm
        SC_rgb_dcmtk_+eb+cr.dcm SC_rgb_dcmtk_+eb+cy+n1.dcm SC_rgb_dcmtk_+eb+cy+n2.dcm SC_rgb_dcmtk_+eb+cy+np.dcm
        SC_rgb_dcmtk_+eb+cy+s2.dcm SC_rgb_dcmtk_+eb+cy+s4.dcm SC_rgb_gdcm_KY.dcm SC_rgb_jls_lossy_line.dcm
        SC_rgb_jls_lossy_sample.dcm SC_rgb_jpeg.dcm SC_rgb_jpeg_app14_dcmd.dcm SC_rgb_jpeg_dcmd.dcm
        SC_rgb_jpeg_dcmtk.dcm SC_rgb_jpeg_gdcm.dcm SC_rgb_jpeg_lossy_gdcm.dcm SC_rgb_rle.dcm SC_rgb_rle_16bit.dcm
        SC_rgb_rle_16bit_2frame.dcm SC_rgb_rle_2frame.dcm SC_rgb_rle_32bit.dcm SC_rgb_rle_32bit_2frame.dcm
        SC_rgb_small_odd.dcm SC_rgb_small_odd_big_endian.dcm SC_rgb_small_odd_jpeg.dcm
        SC_ybr_full_422_uncompressed.dcm examples_jpeg2k.dcm examples_palette.dcm examples_rgb_color.dcm
        examples_ybr_color.dcm OBXXXX1A.dcm OBXXXX1A_2frame.dcm OBXXXX1A_expb.dcm OBXXXX1A_expb_2frame.dcm
        OBXXXX1A_rle.dcm OBXXXX1A_rle_2frame.dcm SC_rgb.dcm SC_rgb_16bit.dcm SC_rgb_16bit_2frame.dcm
        SC_rgb_2frame.dcm SC_rgb_32bit.dcm SC_rgb_32bit_2frame.dcm SC_rgb_dcmtk_ebcr_dcmd.dcm
        SC_rgb_dcmtk_ebcyn1_dcmd.dcm SC_rgb_dcmtk_ebcyn2_dcmd.dcm SC_rgb_dcmtk_ebcynp_dcmd.dcm
        SC_rgb_dcmtk_ebcys2_dcmd.dcm SC_rgb_dcmtk_ebcys4_dcmd.dcm SC_rgb_expb.dcm SC_rgb_expb_16bit.dcm
        SC_rgb_expb_16bit_2frame.dcm SC_rgb_expb_2frame.dcm SC_rgb_expb_32bit.dcm SC_rgb_expb_32bit_2frame.dcm
        SC_rgb_gdcm2k_uncompressed.dcm SC_ybr_full_uncompressed.dcm US1_J2KI.dcm US1_J2KR.dcm US1_UNCI.dcm
        US1_UNCR.dcm color-pl.dcm color-px.dcm color3d_jpeg_baseline.dcm gdcm-US-ALOKA-16.dcm
        gdcm-US-ALOKA-16_big.dcm
    """,
}
READS = """
    charset_files/chrArab.dcm charset_files/chrFren.dcm charset_files/chrFrenMulti.dcm charset_files/chrGerm.dcm
    charset_files/chrGreek.dcm charset_files/chrH31.dcm charset_files/chrH32.dcm charset_files/chrHbrw.dcm
    charset_files/chrI2.dcm charset_files/chrRuss.dcm charset_files/chrX1.dcm charset_files/chrX2.dcm
    693_J2KI.dcm CT_small.dcm J2K_pixelrep_mismatch.dcm JPEG2000.dcm JPEGLSNearLossless_08.dcm
    JPEGLSNearLossless_16.dcm JPGExtended.dcm MR_small.dcm MR_small_RLE.dcm MR_small_bigendian.dcm
    MR_small_expb.dcm MR_small_implicit.dcm MR_small_jp2klossless.dcm MR_small_jpeg_ls_lossless.dcm
    MR_small_padded.dcm examples_overlay.dcm image_dfl.dcm rtdose_1frame.dcm rtdose_expb_1frame.dcm
    rtdose_rle_1frame.dcm
    dicomdirtests/77654033/CR1/6154 dicomdirtests/77654033/CR2/6247 dicomdirtests/77654033/CR3/6278
    693_J2KR.dcm 693_UNCI.dcm 693_UNCR.dcm JPEG-LL.dcm JPEG2000_UNC.dcm JPGLosslessP14SV1_1s_1f_8b.dcm
    MR-SIEMENS-DICOM-WithOverlays.dcm MR2_J2KI.dcm MR2_J2KR.dcm MR2_UNCI.dcm MR2_UNCR.dcm RG1_J2KI.dcm
    RG1_J2KR.dcm RG1_UNCI.dcm RG1_UNCR.dcm RG3_J2KI.dcm RG3_J2KR.dcm RG3_UNCI.dcm RG3_UNCR.dcm bad_sequence.dcm
    explicit_VR-UN.dcm mlut_18.dcm vlut_04.dcm
"""
# Without pylibjpeg-libjpeg, which is an extra for its licence.
WITHOUT_LIBJPEG = {
    "JPGExtended.dcm": "undecodable",
    "JPEG-LL.dcm": "no-decoder",
    "JPGLosslessP14SV1_1s_1f_8b.dcm": "no-decoder",
    "bad_sequence.dcm": "no-decoder",
}
RADIOGRAPHS = [name for name in FILES if name.startswith(("RG", "dicomdirtests/77654033/CR"))]


def expected_of(name: str) -> str:
    """The documented reason, or "reads"."""
    if name in WITHOUT_LIBJPEG and find_spec("libjpeg") is None:
        return WITHOUT_LIBJPEG[name]
    if name.startswith("dicomdirtests/TINY_ALPHA/PT"):
        return "no-pixels"  # 50 headers of CT
    if name in ICONS:
        return "reads"
    for reason, names in REFUSED.items():
        if name in names.split():
            return reason
    assert name in READS.split(), "a file that the table does not know"
    return "reads"


# An oracle that shares nothing with the module but pydicom's decoders


def looked_up(values: np.ndarray, item: pydicom.Dataset) -> tuple[np.ndarray, int]:
    count, first, bits = item.LUTDescriptor
    data = item.LUTData
    table = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.array(data)
    return table[np.clip(np.rint(values).astype(int) - first, 0, (count or 65536) - 1)].astype(
        float
    ), 2**bits - 1


def shown_of(path: Path) -> np.ndarray:
    """float64 [rows, columns] in [0, 1]: stored -> modality -> VOI -> polarity -> padding, pixel by pixel."""
    file = pydicom.dcmread(path)
    stored = pixel_array(file)
    values = stored.astype(float)
    if "ModalityLUTSequence" in file:
        values, _ = looked_up(values, file.ModalityLUTSequence[0])
    else:
        values = values * float(file.get("RescaleSlope", 1)) + float(file.get("RescaleIntercept", 0))
    empty = np.zeros(stored.shape, bool)
    if "PixelPaddingValue" in file:
        empty = stored == file.PixelPaddingValue

    shown = None
    if "VOILUTSequence" in file:
        out, most = looked_up(values, file.VOILUTSequence[0])
        shown = out / most
    elif file.get("WindowWidth"):
        center, width = (float(np.atleast_1d(file[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
        shown = np.select(
            [values <= center - 0.5 - (width - 1) / 2, values > center - 0.5 + (width - 1) / 2],
            [0.0, 1.0],
            (values - (center - 0.5)) / (width - 1) + 0.5,
        )
    if shown is not None and np.mean(np.abs(shown[~empty] - 0.5) > 0.499) >= 0.98:
        shown = None  # the window shows plain black and white only
    if shown is None:
        low, high = np.percentile(values[~empty], (0.5, 99.5))
        shown = np.clip((values - low) / (high - low), 0, 1)
    if file.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.where(empty, 0, shown)


def read_whole(path: Path, **options: object) -> tuple[Radiograph, np.ndarray]:
    """The radiograph without resizing, and its part that is not the frame of the square."""
    file = open_dicom(path)
    if "PixelSpacing" in file:
        del file.PixelSpacing  # two icons' pixels are taller than wide, and would be resized
    size = max(file.Rows, file.Columns)
    radiograph = render(file, size=size, **options)
    top, left = (size - file.Rows) // 2, (size - file.Columns) // 2
    inside = radiograph.pixels[top : top + file.Rows, left : left + file.Columns]
    assert radiograph.pixels.sum(dtype=np.int64) == inside.sum(dtype=np.int64)
    return radiograph, inside


# Claims


def test_the_table_is_of_all_files_of_both_packages() -> None:
    counts = [sum(root in path.parents for path in FILES.values()) for root in ROOTS]
    assert counts == [205, 68]
    listed = [name for names in (*REFUSED.values(), READS) for name in names.split()]
    assert len(listed) == len(set(listed)) == len(FILES) - 50 - len(ICONS)
    assert len(ICONS) == 28


@pytest.mark.parametrize("name", FILES)
def test_a_file_reads_to_the_documented_array_or_is_refused_for_the_documented_reason(name: str) -> None:
    path, expected = FILES[name], expected_of(name)
    with quiet():
        if expected != "reads":
            with pytest.raises(ReadError) as refusal:
                load_radiograph(path, size=32)
            assert refusal.value.reason == expected
            assert refusal.value.__context__ is None
            return
        radiograph, inside = read_whole(path, bits=16)
        assert set(radiograph.flags) <= set(FLAGS)
        shown = shown_of(path)
        # Half a step of 16 bits, and float32.
        assert np.abs(inside / 65535 - shown).max() < 1.5e-5
        _, coarse = read_whole(path, bits=8)
        assert np.abs(coarse / 255 - shown).max() < 0.5 / 255 + 1e-5


@pytest.mark.parametrize(
    "name", [name for name in FILES if expected_of(name) == "reads" and name not in ICONS]
)
def test_a_smaller_picture_is_what_pillow_makes_of_the_whole_one(name: str) -> None:
    with quiet():
        shown = shown_of(FILES[name])
        size = max(1, max(shown.shape) // 5)
        small = load_radiograph(FILES[name], size=size, bits=16).pixels / 65535
        rows, columns = shown.shape
        height, width = (max(1, round(size * side / max(shown.shape))) for side in (rows, columns))
        theirs = np.asarray(
            Image.fromarray(shown.astype(np.float32)).resize(
                (width, height), Image.Resampling.HAMMING, reducing_gap=2.0
            )
        )
    top, left = (size - height) // 2, (size - width) // 2
    assert np.abs(small[top : top + height, left : left + width] - theirs).max() < 5e-5


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_on_every_radiograph_the_dense_is_bright_and_the_range_is_used(name: str) -> None:
    file = pydicom.dcmread(FILES[name])
    assert file.PhotometricInterpretation == "MONOCHROME1"  # large stored values are dark
    with quiet():
        radiograph, inside = read_whole(FILES[name])
    assert radiograph.windowed
    stored = file.pixel_array.astype(float)
    assert np.corrcoef(stored.ravel(), inside.ravel())[0, 1] < -0.8
    assert np.ptp(inside) > (150 if min(inside.shape) > 16 else 30)  # the icons show a patch of a spine
    if file.BodyPartExamined == "CHEST":
        # A frontal chest: the mediastinum between the lungs is denser than they are, air around it is black.
        rows, columns = inside.shape
        middle = inside[rows // 3 : rows * 2 // 3]
        spine = np.median(middle[:, columns * 9 // 20 : columns * 11 // 20])
        lungs = np.median(
            middle[:, [*range(columns // 5, columns // 3), *range(columns * 2 // 3, columns * 4 // 5)]]
        )
        assert spine > lungs + 20
        assert "not-chest" not in radiograph.flags
    else:
        assert "not-chest" in radiograph.flags


def test_lossless_compression_changes_nothing() -> None:
    with quiet():
        for kind in ("RG1", "RG3", "693", "MR2"):
            plain, packed = (
                read_radiograph(FILES[f"{kind}_{way}.dcm"], size=300, bits=16) for way in ("UNCR", "J2KR")
            )
            np.testing.assert_array_equal(packed, plain)
