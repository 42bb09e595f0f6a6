"""Data as users have them, read into validated tables: arrays, lists, data frames, files."""

from expmax.data.columns import Category, Column, Encoding, Kind
from expmax.data.files import read_file
from expmax.data.reading import read_table
from expmax.data.tables import Encoded, Table

__all__ = [
    "Category",
    "Column",
    "Encoded",
    "Encoding",
    "Kind",
    "Table",
    "read_file",
    "read_table",
]
