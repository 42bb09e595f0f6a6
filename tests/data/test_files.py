"""Reading CSV and Parquet files."""

import logging
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from expmax.data import read_file
from expmax.errors import (
    DataError,
    MissingDependencyError,
    MissingFileError,
    ParameterError,
)

NAN = np.nan
EXAMPLES = Path(__file__).parents[2] / "examples" / "data"


@pytest.fixture
def read(tmp_path):
    """Read text, or bytes, as the file it makes."""

    def read_text(content, **options):
        path = tmp_path / "people.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_file(path, **options)

    return read_text


def cells(table):
    return [
        [None if cell is None or cell != cell else cell for cell in column.cells]
        for column in table.columns
    ]


# ------------------------------------------------------------------------------- real data sets


@pytest.mark.parametrize(
    ("name", "shape", "kinds"),
    [
        ("carcinoma", (20, 8), {"integer"}),
        ("coal_intervals", (189, 1), {"integer"}),
        ("earthquakes", (107, 2), {"integer"}),
        ("faithful", (272, 2), {"real", "integer"}),
        ("galaxies", (82, 1), {"real"}),
        ("geyser", (299, 2), {"integer", "real"}),
        ("hiv_encounters", (17, 2), {"integer"}),
        ("iris", (150, 5), {"real", "text"}),
        ("london_deaths", (10, 2), {"integer"}),
        ("lsat6", (1000, 5), {"integer"}),
        ("nile", (100, 2), {"integer"}),
    ],
)
def test_bundled_data_sets(name, shape, kinds):
    table = read_file(EXAMPLES / f"{name}.csv")
    assert table.shape == shape
    assert set(table.kinds) == kinds
    assert table.names is not None
    table.require_complete()


def test_every_bundled_data_set_states_its_origin():
    origins = (EXAMPLES / "ORIGINS.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.csv"):
        assert f"`{path.name}`" in origins


# ------------------------------------------------------------------------- separators and header


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_are_recognised(read, separator, line_end):
    table = read(line_end.join(["a,b,c", "1,x,0.5", "2,y,1.5", ""]).replace(",", separator))
    assert table.names == ["a", "b", "c"]
    assert table.kinds == ["integer", "text", "real"]
    assert cells(table) == [[1, 2], ["x", "y"], [0.5, 1.5]]


def test_a_separator_inside_quotes_is_text(read):
    table = read('name;note\n"x, y";"a ""b"" | c"\nz;d\n')
    assert cells(table) == [["x, y", "z"], ['a "b" | c', "d"]]


def test_a_line_end_inside_quotes_is_text(read):
    assert cells(read('a,b\n"x\ny",1\nz,2\n')) == [["x\ny", "z"], [1, 2]]


def test_a_separator_can_be_given(read):
    assert cells(read("a:b\n1:2\n", separator=":")) == [[1], [2]]
    with pytest.raises(ParameterError, match="separator must be one character; got '::'"):
        read("a\n1\n", separator="::")


def test_a_decimal_comma_goes_with_a_semicolon(read):
    assert cells(read("a;b\n1,5;x\n-2,25e3;y\n;z\n")) == [[1.5, -2250.0, None], ["x", "y", "z"]]
    assert cells(read("1,5;2,5\n3;4\n")) == [[1.5, 3], [2.5, 4]]


def test_a_thousands_separator_makes_text_not_another_number(read):
    assert read("a;b\n1.500,5;1\n2,5;1\n").kinds == ["text", "integer"]
    assert read('a,b\n"1,500",1\n').kinds == ["text", "integer"]


def test_a_byte_order_mark_is_no_part_of_a_name(read):
    assert read("\ufeffa,b\n1,2\n").names == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("1,2\n3,4\n", None),
        ("x,2\ny,4\n", None),
        ("true,false\n", None),
        ("NA,1\n2,3\n", None),
        ("colour,size\nred,S\n", ["colour", "size"]),
        (" a , b \n1,2\n", ["a", "b"]),
        ("1999,2000\n3,4\n", None),
    ],
)
def test_a_header_has_no_numbers(read, content, names):
    assert read(content).names == names


def test_a_header_can_be_stated(read):
    assert read("1999,2000\n3,4\n", header=True).names == ["1999", "2000"]
    assert cells(read("a,b\nc,d\n", header=False)) == [["a", "c"], ["b", "d"]]


def test_row_numbers_without_a_name_are_left_out(read, caplog):
    with caplog.at_level(logging.WARNING, logger="expmax"):
        table = read('"","a"\n"1",5\n"2",6\n')
    assert table.names == ["a"]
    assert "first column has no name" in caplog.text


# ----------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize("token", ["", "NA", "NaN", "nan", "null", "None", "?", ".", " NA "])
def test_missing_cells_do_not_change_the_kind(read, token):
    table = read(f"i,r,b,t\n{token},{token},{token},{token}\n1,0.5,true,x\n")
    assert table.kinds == ["integer", "real", "boolean", "text"]
    assert cells(table) == [[None, 1], [None, 0.5], [None, 1], [None, "x"]]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (["1", "-2", "+3"], "integer"),
        (["1", "2.0"], "real"),
        (["1e3", "2"], "real"),
        ([".5", "1."], "real"),
        (["true", "FALSE", "True"], "boolean"),
        (["true", "yes"], "text"),
        (["1", "true"], "text"),
        (["1_000"], "text"),
        (["1", "2-3"], "text"),
        (["NA", ""], "real"),
    ],
)
def test_columns_take_the_narrowest_kind(read, fields, kind):
    table = read("\n".join(["n,x"] + [f"1,{field}" for field in fields]))
    assert table.kinds[1] == kind


def test_blank_lines_are_no_rows_but_missing_cells_of_a_single_column(read):
    assert cells(read("a,b\n1,2\n\n3,4\n\n")) == [[1, 3], [2, 4]]
    assert cells(read("a\n1\n\n3\n\n\n")) == [[1, None, 3]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(rows=st.lists(st.tuples(st.floats(allow_infinity=False), st.integers(-(10**6), 10**6))))
def test_numbers_read_as_they_were_written(read, rows):
    table = read("\n".join(["x,n", "0.0,0", *(f"{x!r},{n}" for x, n in rows)]))
    assert_array_equal(table.values, [(0.0, 0), *rows])
    assert table.kinds == ["real", "integer"]


def test_many_rows_read_alike(read):
    values = np.random.default_rng(0).normal(size=(5000, 2)).round(3)
    table = read("a,b\n" + "".join(f"{a},{b}\n" for a, b in values))
    assert_array_equal(table.values, values)


# ---------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["people.csv is empty"]),
        ("\n\n", ["people.csv is empty"]),
        ("a,b\n", ["no rows"]),
        ("a,b\n1,2\n3\n", ["line 3", "1 field", "first line has 2", "','"]),
        ("a,b\n\n1,2\n3,4,5\n", ["line 4", "3 field", "first line has 2"]),
        ('a,b\n"x\ny",2\n3\n', ["line 4", "1 field"]),
        ("a;b\n1,5;2,5\n3,1\n", ["line 3", "';'"]),
        ("a,a\n1,2\n", ["two columns named 'a'"]),
        ("a,\n1,2\n", ["column 1", "no name"]),
        ("a,b\n1,2\n3,inf\n", ["column 'b'", "infinity", "line 3"]),
        ("1,2\n3,-Infinity\n", ["column 1", "infinity", "line 2"]),
        (b"a\n\xff\n", ["not text in UTF-8"]),
        (b"PAR1", ["no readable Parquet"]),
    ],
)
def test_broken_files_are_named(read, content, words):
    with pytest.raises(DataError) as caught:
        read(content)
    for word in ["people.csv", *words]:
        assert word in str(caught.value)


def test_a_field_too_long_for_the_csv_module(read):
    with pytest.raises(DataError, match="no readable CSV file"):
        read("a\n" + "x" * 200_000 + "\n")


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file"):
        read_file(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="is a directory"):
        read_file(tmp_path)


# --------------------------------------------------------------------------------------- parquet


def test_parquet(tmp_path):
    path = tmp_path / "people.parquet"
    pa.parquet.write_table(pa.table({"a": [1, None], "b": ["x", None], "c": [0.5, NAN]}), path)
    table = read_file(path)
    assert table.names == ["a", "b", "c"]
    assert table.kinds == ["integer", "text", "real"]
    assert cells(table) == [[1, None], ["x", None], [0.5, None]]
    assert table.source == "people.parquet"


def test_parquet_without_rows(tmp_path):
    path = tmp_path / "people.parquet"
    pa.parquet.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(DataError, match=r"people\.parquet holds no rows"):
        read_file(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "people.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "expmax\[parquet\]"'):
        read_file(path)
