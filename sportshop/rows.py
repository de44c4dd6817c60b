"""Rows: the one reader of CSV files that people and spreadsheets write.

Whatever is in a file, it is read whole or refused in one line that names file, line and column.
An error shows what was found, escaped and cut short; of a file that has a secret column it shows
no cell at all, since a password often stands where it does not belong.
Knows no product and no user: which columns a file has, and what a cell means, its caller says.
"""

import codecs
import csv
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sportshop.names import BadName, printable

if TYPE_CHECKING:
    from _csv import Reader as CsvReader  # which the standard library names nowhere else

SECRET_COLUMNS = frozenset({"passwordHash", "password"})
FILE_BYTES_MAX = 1 << 30  # a million users take 130 MB
SHOWN_CHARACTERS_MAX = 40
HEADER_CHARACTERS_MAX = 80
# What spreadsheets put between cells where the comma is for decimals, or write as "text".
OTHER_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
OTHER_ENCODINGS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

T = TypeVar("T")


class CatalogueError(Exception):
    """A file that is missing or has a bad line; the text names file, line and column."""


class Row(NamedTuple):
    """One record of a CSV file."""

    path: Path
    line: int
    cells: dict[str, str]

    def read(self, column: str, parse: Callable[[str], T]) -> T:
        """Return a cell's value; the ValueError of `parse` says what was expected."""
        try:
            return parse(self.cells[column])
        except BadName as problem:
            raise self.error(column, problem.expected, problem.at_fault) from None
        except ValueError as problem:
            raise self.error(column, str(problem)) from None

    def error(self, column: str, expected: str, at_fault: str = "") -> CatalogueError:
        """Return the error of a column."""
        found = _cut(self.cells[column], SHOWN_CHARACTERS_MAX)
        shown = "" if _has_secrets(tuple(self.cells)) else f", found {found!r}"
        at_fault = f": {at_fault}" if at_fault else ""
        return _error(self.path, f"line {self.line}, column {column}: {expected}{shown}{at_fault}")


def read_rows(path: Path, columns: Sequence[str], also: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the records of a CSV file that has just these columns, or these and `also`.

    A row without anything in it is passed over. Raises CatalogueError.
    """
    text = _decoded(path, _content(path))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if header is None:
                    header = _header(path, line, cells, columns, also)
                else:
                    yield _row(path, line, header, cells)
            line = reader.line_num + 1  # a quoted cell can span lines: name the first of them
    except csv.Error as problem:  # its texts have no cell in them
        raise _error(path, f"line {line}: not correct CSV: {_what(problem, reader)}") from None
    if header is None:
        raise _error(path, f"line 1: expected the columns {','.join(columns)}: the file is empty")


def _content(path: Path) -> bytes:
    """Read a file without ever waiting for one: a pipe or a device could keep us for good."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as stream:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise _unreadable(path, "it is not a regular file")
            if about.st_size > FILE_BYTES_MAX:
                raise _unreadable(path, f"it has more than {FILE_BYTES_MAX >> 20} MiB")
            return stream.read()
    except OSError as problem:
        raise _unreadable(path, problem.strerror or str(problem)) from None
    except ValueError:  # a name with a NUL
        raise _unreadable(path, "that is not the name of a file") from None


def _unreadable(path: Path, why: str) -> CatalogueError:
    return CatalogueError(f"{printable(str(path))}: cannot be read: {why}")


def _decoded(path: Path, content: bytes) -> str:
    for mark, encoding in OTHER_ENCODINGS.items():
        if content.startswith(mark):
            raise _other_encoding(path, encoding)
    if b"\0" in content[:2]:  # no mark, but every other byte is 0
        raise _other_encoding(path, "UTF-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _error(path, f"line {_line_at(content, problem.start)}: expected UTF-8") from None
    if "\0" in text:
        line = _line_at(content, content.index(b"\0"))
        raise _error(path, f"line {line}: expected text, found a NUL byte")
    return text


def _other_encoding(path: Path, encoding: str) -> CatalogueError:
    return _error(path, f"line 1: expected UTF-8, found {encoding}: save it as CSV in UTF-8")


def _line_at(content: bytes, place: int) -> int:
    before = content[:place].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n") + 1


def _header(
    path: Path, line: int, cells: list[str], columns: Sequence[str], also: Sequence[str]
) -> list[str]:
    if cells in (list(columns), [*columns, *also]):
        return cells
    plainly = [cell.strip().casefold() for cell in cells]
    for separator, name in OTHER_SEPARATORS.items():
        if [cell.strip().casefold() for cell in plainly[0].split(separator)] == _plain(columns):
            raise _error(path, f"line {line}: the columns are separated by {name}: expected ','")
    expected = f"line {line}: expected the columns {','.join(columns)}"
    if plainly == _plain(columns):
        expected += " written exactly so"
    if not _has_secrets(columns):
        expected += f", found {printable(_cut(','.join(cells), HEADER_CHARACTERS_MAX))}"
    raise _error(path, f"{expected}: line {line} is not the header")


def _plain(columns: Sequence[str]) -> list[str]:
    return [column.casefold() for column in columns]


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        expected = f"expected {len(header)} columns ({','.join(header)})"
        raise _error(path, f"line {line}: {expected}, found {len(cells)}")
    return Row(path, line, dict(zip(header, cells, strict=True)))


def _what(problem: csv.Error, reader: "CsvReader") -> str:
    """Say it in the words of who wrote the file."""
    text = str(problem)
    if text == "unexpected end of data":
        return f"a quote is opened and not closed before the end, in line {reader.line_num}"
    if text.startswith("field larger"):
        return f"a cell has more than {csv.field_size_limit()} characters: is a quote not closed?"
    return text


def _cut(found: str, characters_max: int) -> str:
    return found if len(found) <= characters_max else found[:characters_max] + "…"


def _has_secrets(columns: Sequence[str]) -> bool:
    return not SECRET_COLUMNS.isdisjoint(columns)


def _error(path: Path, what: str) -> CatalogueError:
    return CatalogueError(f"{printable(str(path))}, {what}")
