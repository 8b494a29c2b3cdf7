"""Folders of radiographs with a labels table."""

from pathlib import Path

import numpy as np

from imbal_jax.data.sources.phantom_dicom import encode

MARKER = "ZZMARKERZZ"


SIZE = 16


def radiograph(
    path: Path, *, patient: str = "", uid: str = "1.2.3", accession: str = "", seed: int = 0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 4096, (SIZE, SIZE)).astype("<u2")
    meta = encode({"TransferSyntaxUID": "1.2.840.10008.1.2.1", "MediaStorageSOPInstanceUID": uid})
    body = {
        "SOPInstanceUID": uid,
        "AccessionNumber": accession,
        "PatientName": f"{MARKER}^NAME",
        "PatientID": patient,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": SIZE,
        "Columns": SIZE,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": 2048,
        "WindowWidth": 4096,
        "PixelData": pixels.tobytes(),
    }
    length = encode({"FileMetaInformationGroupLength": len(meta)})
    path.write_bytes(bytes(128) + b"DICM" + length + meta + encode(body))
    return path


def table(folder: Path, text: str, name: str = "labels.csv") -> None:
    (folder / name).write_text(text, encoding="utf-8")
