"""Tables are read as pandas reads them where the quotes balance, and refused by row where they do not."""

import csv
import gzip
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.data.tables.csv_table import decoded, parse_table
from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError

MARKER = "ZZMARKERZZ"
CELL = st.text(st.sampled_from('abz019 ,;"\n\u2028\u0085\x0c\x0b\x1c\u00fc-./'), min_size=1, max_size=8).map(
    lambda text: f"x{text}x"
)
SHEETS = st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    SHEETS,
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_what_pandas_writes_is_read_as_pandas_reads_it(cells, quoting, delimiter, ending, index):
    frame = pd.DataFrame(cells, columns=["file", "comment", "label"])
    # Without line breaks: read_csv turns them into "\n", and those that look like rows are tested below
    frame = frame.map(lambda cell: cell.replace("\n", " "))
    text = frame.to_csv(quoting=quoting, sep=delimiter, lineterminator=ending, index=index)
    back = pd.read_csv(
        io.StringIO(text, newline=""), sep=delimiter, dtype=str, index_col=0 if index else None
    )
    table = parse_table(text, "t.csv")
    assert table.headings == ("file", "comment", "label")
    assert [row for _, row in table.rows] == back.to_numpy().tolist()


def test_cells_of_several_lines_are_cells_and_rows_keep_their_editor_numbers():
    rows = [
        ["1.png", "first line\nsecond, with a comma\n\nfourth", "ill"],
        ["2.png", 'says "hazy"\r\nbase', "well"],
        ["3.png", "", "ill"],
    ]
    text = pd.DataFrame(rows, columns=["file", "comment", "label"]).to_csv(index=False)
    table = parse_table(text, "t.csv")
    assert [row for _, row in table.rows] == [[c.replace("\r\n", "\n") for c in row] for row in rows]
    assert [number for number, _ in table.rows] == [2, 6, 8]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('file,c,label\n1.png,a,x\n2.png,"hazy,x\n3.png,,x\n', 3),  # never closed
        (
            'file,c,label\n1.png,a,x\n2.png,"hazy,x\n3.png,seen" before,x\n',
            3,
        ),  # text behind the closing quote
        ('file,c,label\n1.png,hazy "left" base,x\n', 2),  # opens inside a cell
        ('file,c,label\n1.png, "a",x\n', 2),
        (
            'file,c,label\n1.png,"hazy,ill\n2.png,clear",well\n3.png,,ill\n',
            2,
        ),  # closes at the end of another's cell
        ('file,c,label\n1.png,"hazy,ill\n2.png,,ill\n3.png,clear",well\n4.png,,ill\n', 2),
        ('file,label,c\n1.png,ill,"hazy\n2.png,well,"\n3.png,ill,\n', 2),
        ('c,label,file\n"hazy,ill,1.png\nclear",well,2.png\nx,ill,3.png\n', 2),
        ('file,label\n1.png,"x\n', 2),
        ('file,label\n"1.png,x\n2.png",y\n3.png,y\n', 2),
        ("file,label\n1.png,x\n2.png\n", 3),
        ("file,label\n1.png,x,y\n", 2),
        ("file,label\n1.png,x\n\n2.png,x,\n", 4),
        ('file,label\n1.png,"' + "x" * 140_000 + "\n2.png,y\n", 2),  # longer than csv's own limit
    ],
)
def test_a_quote_or_a_row_that_does_not_fit_is_refused_by_its_row(text, row):
    for ending in ("\n", "\r\n", "\r"):
        with pytest.raises(InputError, match=rf"t.csv row {row}[ :]") as refusal:
            parse_table(text.replace("\n", ending), "t.csv")
        assert "hazy" not in str(refusal.value)
        assert len(str(refusal.value)) < 300


def test_long_cells_are_read():
    long = "x" * 300_000
    assert parse_table(f'file,c\n1.png,"{long}"\n2.png,{long}\n', "t").rows[0][1][1] == long


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_only_line_ends_end_a_row(separator):
    rows = parse_table(f"file,c\n1.png,a{separator}b\n2.png,c\n", "t").rows
    assert rows == [(2, ["1.png", f"a{separator}b"]), (3, ["2.png", "c"])]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("sep=;\nfile;label\n1.png;x\n", [(3, ["1.png", "x"])]),  # Excel's own line
        ("\n file , label \n\n1.png, x\n,\n,,\n"[:-3], [(4, ["1.png", "x"])]),
        (",file,label\n0,1.png,x\n", [(2, ["1.png", "x"])]),  # pandas' index
        ("Unnamed: 0,file,label\n0,1.png,x\n", [(2, ["1.png", "x"])]),
        ("file,label,\n1.png,x,\n", [(2, ["1.png", "x"])]),
        (
            '"a,b;c";file;label\n1;2.png;x\n',
            [(2, ["1", "2.png", "x"])],
        ),  # delimiters inside the heading's quotes
    ],
)
def test_what_spreadsheets_add_is_passed_over(text, rows):
    assert parse_table(text, "t").rows == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t is empty"),
        ("\n \n", "t is empty"),
        ("file,label\n", "a heading and no rows"),
        ("file,label\n,\n", "a heading and no rows"),
        ("file,Patient ID,patient_id\na,b,c\n", "two columns of the same name, 2 and 3"),
        ("file,label,\n1.png,x,y\n", "column 3 has cells and no heading"),
    ],
)
def test_tables_without_rows_or_with_unclear_headings_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_table(text, "t")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (f"file,label\n{MARKER}\u00fc.png,a\n".encode("latin-1"), "t is not UTF-8"),
        (f"file,label\n{MARKER}\0.png,a\n".encode(), "t row 2 holds a NUL byte"),
        (f"file,label\n{MARKER},a\n".encode("utf-16-le"), "t row 1 holds a NUL byte"),
        (b"\xff\xfef", "t is not UTF-8"),
    ],
)
def test_other_bytes_are_refused_without_their_content(data, message):
    with pytest.raises(InputError, match=message) as refusal:
        decoded(data, "t")
    assert MARKER not in str(refusal.value)


def test_a_damaged_gzip_file_is_one_line(tmp_path: Path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"file,label\n" * 100)[:40])
    with pytest.raises(InputError, match="does not decompress"):
        read_table_text(path)
