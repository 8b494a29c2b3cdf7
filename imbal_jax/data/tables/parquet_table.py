"""Parquet files as tables of text, through pyarrow."""

import io
from typing import Any

from imbal_jax.data.tables.csv_table import Record, TextTable, without_nameless
from imbal_jax.errors import InputError

MAGIC = b"PAR1"
_INDEX = "__index_level_"  # as pandas calls an index without a name


def parse_parquet(data: bytes, name: str) -> TextTable:
    """The table in the bytes of a Parquet file, its cells as a CSV file would hold them.

    Rows are numbered as in that CSV file: the heading is 1, the first row 2. Columns of bytes, lists and structures,
    such as embedded images, are left out. Raises InputError without pyarrow, for damage, and as ``csv_table`` does
    for headings and for a table without rows.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{name} is a Parquet file, which needs pyarrow: pip install pyarrow") from None
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError):
        raise InputError(f"{name} is damaged: it is no whole Parquet file, fetch it again") from None
    plain = [
        column
        for column in table.column_names
        if _is_plain(table.schema.field(column).type) and not column.startswith(_INDEX)
    ]
    columns = [table.column(column).to_pylist() for column in plain]
    if not table.num_rows or not plain:
        raise InputError(f"{name} has no rows of text or numbers")
    records: list[Record] = [
        (number, [_text(cell) for cell in cells], {})
        for number, cells in enumerate(zip(*columns, strict=True), start=2)
    ]
    return without_nameless([column.strip() for column in plain], records, name)


def _is_plain(kind: Any) -> bool:
    import pyarrow

    types = pyarrow.types
    if types.is_dictionary(kind):  # categories
        kind = kind.value_type
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return not (binary or types.is_nested(kind))


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()
