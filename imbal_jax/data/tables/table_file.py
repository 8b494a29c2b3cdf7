"""Reads a table from a file of any kind that is read: CSV in its variants, gzip, Parquet."""

import gzip
import zlib
from pathlib import Path

from imbal_jax.data.tables.csv_table import TextTable, decoded, parse_table
from imbal_jax.data.tables.parquet_table import MAGIC, parse_parquet
from imbal_jax.errors import InputError
from imbal_jax.files import read_bytes

ENDINGS = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")
"""Of files that may be a table of labels."""


def read_table_text(path: Path, *, absent: str = "") -> TextTable:
    """The table in a CSV file (``csv_table.parse_table``), in one compressed with gzip, or in a Parquet file.

    CSV is UTF-8 with or without a byte order mark, or UTF-16 with one. The content determines the kind, not the name.
    Raises InputError for a file that is absent (with the remedy ``absent``), damaged, a workbook, or no table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no table {path}: {absent or 'place it there'}")
    data = read_bytes(path)
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise InputError(f"{path.name} is damaged: it does not decompress, fetch it again") from None
    if data.startswith(MAGIC):
        return parse_parquet(data, path.name)
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):  # .xlsx, .ods; .xls
        raise InputError(f"{path.name} is a workbook: save its sheet as 'CSV UTF-8'")
    return parse_table(decoded(data, path.name), path.name)
