"""Reading arrays, lists and data frames, and the table they become."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from expmax.data import Table, read_table
from expmax.errors import DataError, DataTypeError, ParameterError

NAN = np.nan


class OnlyArray:
    """What is known to hold an array by its `__array__` alone."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array


def mixed_frames():
    """One table, in every kind of frame: its columns hold a missing cell each, except the last."""
    columns = {
        "real": [1.5, None, 2.5],
        "integer": [1, None, 3],
        "boolean": [True, None, False],
        "text": ["b", None, "a"],
        "category": ["v", None, "u"],
        "count": [1, 2, 3],
    }
    yield (
        "pandas",
        pd.DataFrame(
            {
                "real": columns["real"],
                "integer": pd.array(columns["integer"], "Int64"),
                "boolean": pd.array(columns["boolean"], "boolean"),
                "text": columns["text"],
                "category": pd.Categorical(columns["category"]),
                "count": columns["count"],
            },
            index=[7, 8, 7],
        ),
    )
    yield (
        "pandas objects",
        pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()}),
    )
    yield (
        "polars",
        pl.DataFrame(columns).with_columns(pl.col("category").cast(pl.Categorical)),
    )
    arrow = pa.table(columns)
    place = arrow.column_names.index("category")
    yield (
        "pyarrow",
        arrow.set_column(place, "category", arrow["category"].dictionary_encode()),
    )


# --------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize(("name", "frame"), list(mixed_frames()))
def test_frames_of_every_kind_read_alike(name, frame):
    table = read_table(frame)
    assert table.names == ["real", "integer", "boolean", "text", "category", "count"]
    assert table.kinds == ["real", "integer", "boolean", "text", "text", "integer"]
    assert table.shape == (3, 6)
    assert_array_equal(table.column("real").cells, [1.5, NAN, 2.5])
    assert_array_equal(table.column("integer").cells, [1, NAN, 3])
    assert_array_equal(table.column("boolean").cells, [1, NAN, 0])
    assert table.column("text").cells.tolist() == ["b", None, "a"]
    assert table.column("category").cells.tolist() == ["v", None, "u"]
    for column in table.columns[:5]:
        assert column.missing.tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_contiguous_floats_are_not_copied(dtype):
    X = np.arange(6, dtype=dtype).reshape(3, 2)
    assert read_table(X).values is X


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint64, bool, ">f8", ">i4"])
def test_other_numbers_become_float64(dtype):
    values = read_table(np.array([[0, 1], [1, 0]], dtype=dtype)).values
    assert values.dtype == np.float64
    assert values.dtype.isnative
    assert_array_equal(values, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "X",
    [
        np.arange(6.0).reshape(3, 2).T,
        np.arange(12.0).reshape(2, 6)[:, ::2],
        OnlyArray(np.arange(6.0).reshape(2, 3)),
        [[0.0, 1.0, 2.0], (3.0, 4.0, 5.0)],
        [np.array([0.0, 1.0]), np.array([2.0, 3.0])],
        pd.DataFrame({"a": [0.0, 1.0], "b": [2.0, 3.0]}),
    ],
)
def test_values_are_contiguous(X):
    table = read_table(X)
    assert table.values.flags.c_contiguous
    assert table.values.shape == table.shape


def test_float32_frames_stay_float32_unless_a_column_needs_more():
    single = pl.DataFrame({"a": pl.Series([1.5, None], dtype=pl.Float32)})
    assert read_table(single).values.dtype == np.float32
    assert read_table(single.with_columns(b=pl.Series([1, 2]))).values.dtype == np.float64


def test_bare_arrays_have_no_names():
    table = read_table(np.zeros((2, 2)))
    assert table.names is None
    assert table.label(1) == "column 1"
    assert read_table(pd.DataFrame(np.zeros((2, 2)))).names is None


@pytest.mark.parametrize(
    "missing", [None, NAN, pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")]
)
def test_every_missing_cell_is_nan_among_numbers_and_none_among_text(missing):
    table = read_table(np.array([[missing, missing], [1, "a"]], dtype=object))
    assert table.kinds == ["integer", "text"]
    assert_array_equal(table.column(0).cells, [NAN, 1])
    assert table.column(1).cells.tolist() == [None, "a"]


def test_a_masked_cell_is_missing():
    X = np.ma.masked_array([[1, 2]], mask=[[True, False]])
    assert_array_equal(read_table(X).values, [[NAN, 2]])
    assert_array_equal(read_table(X.astype(object)).values, [[NAN, 2]])


def test_a_column_without_any_cell_is_real():
    table = read_table(pl.DataFrame({"a": [None, None]}))
    assert table.kinds == ["real"]
    assert_array_equal(table.values, [[NAN], [NAN]])


def test_object_columns_take_the_kind_of_their_cells():
    rows = [[1, 1.0, True, "a", Decimal("0.5")], [2, 2, np.False_, "b", 1]]
    assert read_table(rows).kinds == ["integer", "real", "boolean", "text", "real"]


def test_categories_that_are_numbers_are_text():
    table = read_table(pd.DataFrame({"a": pd.Categorical([3, None, 1])}))
    assert table.column("a").encode().categories == ["1", "3"]


@pytest.mark.parametrize(
    ("X", "shape"),
    [
        (np.zeros((0, 2)), (0, 2)),
        (np.zeros((3, 0)), (3, 0)),
        (np.zeros((0, 2), dtype=object), (0, 2)),
        ([[]], (1, 0)),
        (pd.DataFrame(index=range(3)), (3, 0)),
        (pd.DataFrame({"a": []}), (0, 1)),
        (pl.DataFrame(), (0, 0)),
        (pl.DataFrame({"a": []}, schema={"a": pl.String}), (0, 1)),
        (pa.table({"a": pa.array([], pa.int64())}), (0, 1)),
    ],
)
def test_tables_without_rows_or_columns(X, shape):
    table = read_table(X)
    assert table.shape == shape
    assert table.values.shape == shape


def test_a_table_reads_as_itself():
    table = read_table(np.zeros((2, 2)))
    assert read_table(table) is table


def test_the_largest_numbers_are_finite():
    X = np.full((4, 1), np.finfo(np.float64).max)
    assert read_table(X).values is X


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ([1.0, 2.0], ["Expected 2D array, got 1D array instead", "Reshape your data"]),
        (pd.Series([1.0]), ["Expected 2D array, got 1D array instead", "Reshape your data"]),
        (pl.Series([1.0]), ["Expected 2D array, got 1D array instead", "Reshape your data"]),
        (1.0, ["Expected 2D array, got scalar array instead", "Reshape your data"]),
        (None, ["Expected 2D array, got scalar array instead", "NoneType"]),
        (np.zeros((2, 2, 2)), ["Found array with dim 3"]),
        ([[[1.0]]], ["Found array with dim 3"]),
        (np.zeros((2, 2), dtype=complex), ["Complex data not supported"]),
        ([[1.0], [1j]], ["Complex data not supported", "column 0", "row 1"]),
        ([[1, 2], [3]], ["row 0 has 2", "row 1 has 1"]),
        ([np.zeros(2), np.zeros(3)], ["row 0 has 2", "row 1 has 3"]),
        ([[1], [NAN], ["a"]], ["column 0", "'a', row 2", "(1, row 0)"]),
        ([[1], [np.inf]], ["column 0", "infinity", "row 1"]),
        (np.array([[1, NAN], [0, -np.inf]]), ["column 1", "-infinity", "row 1"]),
        (np.array([[-np.inf, np.inf]]), ["column 0", "-infinity", "row 0"]),
        (np.array([[np.inf]], dtype=np.float32), ["infinity"]),
        (pd.DataFrame({"age": [1.0, np.inf]}), ["column 'age'", "infinity", "row 1"]),
        ([[10**400]], ["column 0", "too large"]),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ["same name"]),
        (pa.table([[1], [2]], names=["a", "a"]), ["same name"]),
    ],
)
def test_refused_data_are_named(X, words):
    with pytest.raises(DataError) as caught:
        read_table(X)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (scipy.sparse.csr_array(np.eye(2)), ["sparse", ".toarray()"]),
        (scipy.sparse.csr_matrix(np.eye(2)), ["sparse", ".toarray()"]),
        ([[1, {}]], ["column 1", "dict", "row 0"]),
        (np.array([[b"a"]]), ["S1"]),
        (np.array([["2020-01-01"]], dtype="M8[D]"), ["datetime64"]),
        (np.zeros((2, 2), dtype=[("a", float)]), ["numbers, strings or objects"]),
        (pd.DataFrame({"day": pd.to_datetime(["2020-01-01"])}), ["column 'day'", "Datetime"]),
        (pl.DataFrame({"lists": [[1]]}), ["column 'lists'", "List"]),
        (pl.LazyFrame({"a": [1]}), ["lazy", "collect"]),
        (pd.DataFrame([[1, 2]], columns=["a", 0]), ["all strings", "int, str"]),
    ],
)
def test_what_holds_no_data_is_a_type_error(X, words):
    with pytest.raises(DataTypeError) as caught:
        read_table(X)
    for word in words:
        assert word in str(caught.value)


def test_scikit_learn_finds_its_words_for_a_cell_of_foreign_type():
    X = np.ones((2, 2), dtype=object)
    X[0, 0] = {"foo": "bar"}
    with pytest.raises(TypeError, match=r"argument must be .* string.* number"):
        read_table(X)


def test_messages_carry_the_name_of_the_argument():
    with pytest.raises(DataError, match="column 0 of weights holds infinity"):
        read_table([[np.inf]], name="weights")


# ------------------------------------------------------------------------------------ selection


@pytest.fixture
def people() -> Table:
    return read_table(pd.DataFrame({"age": [30, 40], "name": ["x", "y"], "height": [1.7, 1.8]}))


def test_columns_are_selected_by_name_and_position_in_the_order_given(people):
    chosen = people.select(["height", 0])
    assert chosen.names == ["height", "age"]
    assert chosen.kinds == ["real", "integer"]
    assert_array_equal(chosen.values, [[1.7, 30], [1.8, 40]])
    assert chosen.values.flags.c_contiguous
    assert people.select("age").names == people.select(-3).names == ["age"]


def test_selecting_every_column_copies_nothing():
    table = read_table(np.zeros((2, 2)))
    assert table.select([0, 1]) is table


def test_selected_columns_of_an_array_keep_their_label():
    assert read_table(np.zeros((2, 3))).select([2]).label(0) == "column 2"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["heigth"], "no column 'heigth'; did you mean 'height'"),
        (["zzz"], "it has 'age', 'name', 'height'"),
        ([3], "no column 3; it has 3 columns"),
        ([-4], "no column -4"),
        ([1.0], "a name or a position; got 1.0"),
        ([True], "a name or a position; got True"),
        (["age", 0], "got column 'age' twice"),
    ],
)
def test_columns_that_cannot_be_selected(people, columns, words):
    with pytest.raises(ParameterError) as caught:
        people.select(columns)
    assert words in str(caught.value)


def test_a_name_needs_names():
    with pytest.raises(ParameterError, match="X has no column names"):
        read_table([[1.0]]).select("age")


def test_text_has_no_values(people):
    with pytest.raises(DataError, match=r"column 'name' of X holds text \('x', row 0\)"):
        _ = people.values


# ----------------------------------------------------------------------------------- categories


def test_learned_categories_are_sorted_and_fit_for_json(people):
    encoded = read_table([["b", 1], ["a", 2], [None, 3]]).encode()
    assert_array_equal(encoded.values, [[1, 1], [0, 2], [NAN, 3]])
    assert json.loads(json.dumps(encoded.categories)) == {"0": ["a", "b"]}
    assert encoded.unseen == {}


def test_unseen_categories_are_coded_minus_one_and_reported():
    table = read_table([["b", "x"], ["c", "x"], [None, "x"]])
    encoded = table.encode({0: ["b", "a"], 1: ["x"]})
    assert_array_equal(encoded.values, [[0, 0], [-1, 0], [NAN, 0]])
    assert encoded.unseen == {0: ["c"]}


def test_text_without_known_categories_is_refused(people):
    with pytest.raises(DataError, match="column 'name' of X holds text"):
        people.encode({})


def test_a_table_of_numbers_encodes_to_its_values_without_a_copy():
    X = np.zeros((2, 2))
    assert read_table(X).encode().values is X


@pytest.mark.parametrize(
    ("cells", "categories"),
    [
        ([3, 1, None], [1, 3]),
        ([2.5, 0.5, None], [0.5, 2.5]),
        ([True, False, None], [False, True]),
        (["b", "a", None], ["a", "b"]),
    ],
)
def test_columns_of_every_kind_have_categories(cells, categories):
    encoding = read_table([[cell] for cell in cells]).column(0).encode()
    assert encoding.categories == categories
    assert [type(category) for category in encoding.categories] == [type(cells[0])] * 2
    assert_array_equal(encoding.codes, [1, 0, NAN])


def test_a_number_and_its_spelling_are_one_category():
    known = read_table([["1"], ["2"], ["other"]]).column(0).encode().categories
    assert_array_equal(read_table([[2], [1], [3]]).column(0).encode(known).codes, [1, 0, -1])
    known = read_table([[1], [2]]).column(0).encode().categories
    later = read_table([["2"], ["1"], ["other"]]).column(0).encode(known)
    assert_array_equal(later.codes, [1, 0, -1])
    assert later.unseen == ["other"]


def test_known_categories_must_be_distinct():
    with pytest.raises(ParameterError, match="categories must be distinct"):
        read_table([["a"]]).column(0).encode(["a", "a"])


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1))
def test_codes_lead_back_to_the_cells(cells):
    column = read_table(pl.DataFrame({"a": pl.Series(cells, dtype=pl.String)})).column("a")
    encoding = column.encode()
    if column.kind == "text":
        back = [
            None if np.isnan(code) else encoding.categories[int(code)] for code in encoding.codes
        ]
        assert back == cells
    else:
        assert set(cells) == {None}


# --------------------------------------------------------------------------------- requirements


def test_required_size_is_refused_in_scikit_learns_words():
    table = read_table(np.zeros((1, 0)))
    with pytest.raises(
        DataError, match=r"1 sample\(s\) \(shape=\(1, 0\)\) while a minimum of 2 is"
    ):
        table.require_size(rows=2)
    with pytest.raises(DataError, match=r"0 feature\(s\) \(shape=\(1, 0\)\) while a minimum of 1 "):
        table.require_size()
    read_table(np.zeros((1, 1))).require_size()


def test_required_cells_are_named_where_they_are_missing():
    read_table([[1.0, "a"]]).require_complete()
    with pytest.raises(DataError, match=r"column 1 of X holds NaN .* \(row 1\)"):
        read_table([[1.0, 2.0], [1.0, NAN]]).require_complete()
    with pytest.raises(DataError, match=r"column 0 of X holds NaN .* \(row 1\)"):
        read_table([["a"], [None]]).require_complete()
