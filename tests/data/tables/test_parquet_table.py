import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imbal_jax.data.tables.labels_table import labels_table
from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": ["a.png", "b.png", "M\u00fcller.png"],
            "patient": [7, 8, 7],
            "label": pd.Categorical(["ill", "well", "ill"]),
            "age": [61.0, np.nan, 40.5],
            "seen": [True, False, True],
            "day": [datetime.date(2020, 1, 2), None, datetime.date(2021, 3, 4)],
        }
    )


@pytest.mark.parametrize("index", [None, "named", "kept"])
def test_a_parquet_table_has_the_cells_of_the_csv_table_of_the_same_frame(tmp_path, index) -> None:
    table = frame()
    if index:
        table.index = pd.Index([10, 11, 12], name="case" if index == "named" else None)
    table.to_parquet(tmp_path / "t.parquet", index=None if index is None else True)
    table.to_csv(tmp_path / "t.csv", index=index is not None)
    one, two = read_table_text(tmp_path / "t.parquet"), read_table_text(tmp_path / "t.csv")
    columns = {heading: place for place, heading in enumerate(one.headings)}
    assert set(one.headings) == set(two.headings)
    for (line, cells), (other_line, other) in zip(one.rows, two.rows, strict=True):
        assert line == other_line
        assert [cells[columns[heading]] for heading in two.headings] == other


def test_missing_values_stay_missing_and_categories_are_their_names(tmp_path) -> None:
    frame().to_parquet(tmp_path / "t.parquet")
    table = labels_table(read_table_text(tmp_path / "t.parquet"))
    assert table.classes == ("ill", "well")
    assert [row.patient for row in table.rows] == ["7", "8", "7"]


def test_whole_numbers_with_gaps_are_read_as_pandas_wrote_them(tmp_path) -> None:
    # float64 in Parquet, since numpy has no missing integer: 7.0 is patient 7
    pd.DataFrame({"file": ["1", "2", "3"], "patient": [7, None, 7], "label": ["a", "b", "a"]}).to_parquet(
        tmp_path / "t.parquet"
    )
    table = labels_table(read_table_text(tmp_path / "t.parquet"))
    assert [row.patient for row in table.rows] == ["7", "", "7"]


def test_embedded_images_and_lists_are_left_out(tmp_path) -> None:
    table = pa.table(
        {"file": ["1"], "image": [b"\x89PNG"], "box": [[1, 2]], "info": [{"a": 1}], "label": ["x"]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_table_text(tmp_path / "t.parquet").headings == ("file", "label")


def test_damage_and_empty_tables_are_refused_in_one_line(tmp_path) -> None:
    path = tmp_path / "t.parquet"
    frame().to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"t\.parquet is damaged"):
        read_table_text(path)
    frame()[:0].to_parquet(path)
    with pytest.raises(InputError, match="has no rows"):
        read_table_text(path)
