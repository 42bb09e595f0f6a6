"""Data as users have them, read into validated tables: arrays, lists, data frames, files."""

from expmax.data.files import read_file
from expmax.data.tables import Category, Column, Encoded, Encoding, Kind, Table, read_table

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
