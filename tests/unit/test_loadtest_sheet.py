"""A file for spreadsheets: a product's name is text there, and a number a number."""

import csv
import io

import pytest
from _board import Board
from _sheet import sheet

COLUMNS = {"product": "Product", "sold": "Sold", "left": "Left"}


def written(*rows: dict[str, object]) -> list[list[str]]:
    return list(csv.reader(io.StringIO(sheet(rows, COLUMNS), newline="")))


@pytest.mark.parametrize(
    "name",
    [
        '=HYPERLINK("http://x","y")',
        "+1+1",
        "-1+1",
        "@SUM(1+1)",
        " =1+1",
        "\u00a0\u2003@SUM(1+1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\uff1d1+1",
        "=cmd|' /C calc'!A0",
    ],
)
def test_a_name_that_begins_like_a_formula_is_marked_as_text(name: str) -> None:
    cell = written({"product": name, "sold": 1, "left": 0})[1][0]
    assert cell == f"'{name}"


@pytest.mark.parametrize(
    "name", ["Ball", 'A "good" ball, red', "1=1", " Ball", "'=1", "", "Ca\u00f1a"]
)
def test_any_other_name_is_as_it_was(name: str) -> None:
    assert written({"product": name, "sold": 1, "left": 0})[1][0] == name


def test_numbers_below_nothing_stay_numbers() -> None:
    assert written({"product": "Ball", "sold": 12, "left": -2}) == [
        ["Product", "Sold", "Left"],
        ["Ball", "12", "-2"],
    ]
    assert written({"product": "Ball", "sold": 0, "left": None})[1] == ["Ball", "0", ""]


def test_the_board_s_rows_are_such_rows() -> None:
    board = Board()
    board.begin("run", {"=1+1": 5}, 0)
    (row,) = board.rows()
    assert sheet([row], {name: name for name in row}).splitlines()[1].startswith("'=1+1,5,0,")
