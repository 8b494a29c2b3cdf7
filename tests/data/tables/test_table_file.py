import gzip
import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_and_utf_16_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame({"file": ["M\u00fcller.png"], "label": ["\u75c5"]}).to_csv(
        path, index=False, encoding=encoding
    )
    assert read_table_text(path).rows == [(2, ["M\u00fcller.png", "\u75c5"])]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_table_text(tmp_path / "t.csv.gz").rows == [(2, ["M\u00fcller.png", "\u75c5"])]


def test_the_content_and_not_the_name_tells_the_kind(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["1.png"], "label": ["x"]})
    frame.to_parquet(tmp_path / "labels.csv")
    frame.to_csv(tmp_path / "labels.parquet", index=False)
    for name in ("labels.csv", "labels.parquet"):
        assert read_table_text(tmp_path / name).rows == [(2, ["1.png", "x"])]


def test_a_workbook_is_refused_with_the_way_out(tmp_path: Path) -> None:
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    (tmp_path / "labels.xlsx").write_bytes(book.getvalue())
    with pytest.raises(InputError, match="is a workbook: save its sheet as 'CSV UTF-8'"):
        read_table_text(tmp_path / "labels.xlsx")
