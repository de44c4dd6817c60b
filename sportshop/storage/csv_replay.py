"""The ledger checks itself: each order against those before it, whole columns at a time.

Knows no file: it is given columns, and says which line is wrong.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sportshop.orders import parse_time
from sportshop.products import Product, parse_cents
from sportshop.storage.csv_rows import unmark
from sportshop.storage.csv_scan import Rows
from sportshop.storage.interface import StoreError
from sportshop.users import User

TIME = "2023-11-14T22:13:20.123Z"
TIME_MARKS = [at for at, character in enumerate(TIME) if not character.isdigit()]
SHOWN_CHARACTERS = 40
DIGITS_MAX = 18  # of a number: more are none of ours, and Python refuses to read thousands


class Orders(NamedTuple):
    """Some orders that are right, column by column."""

    firsts: Sequence[int] | None
    """Each order's first row; None if every order has one row."""
    positions: Sequence[int]
    users: Sequence[int]
    keys: Sequence[str]
    """Empty where an order has none."""


class Replay:
    """What the orders so far have left of each product."""

    def __init__(self, path: Path, users: Iterable[User], opening: Iterable[Product]) -> None:
        self._path = path
        self._users = {user.name: user.id for user in users}
        self._orders = 0
        self.stock = {product.name: product.stock for product in opening}
        self.newest_at_ms = 0
        self.literal: list[int] = []
        """Of the rows checked last, the orders in which an apostrophe is no mark."""

    def check(self, rows: Rows) -> Orders:
        """Return the orders of some rows. Raises StoreError, which names the line."""
        order, placed_at, user, key, name, quantity, price, left, _ = rows.columns
        positions, firsts = self._numbered(rows, order)
        self.literal = []
        if rows.marked is not None:
            user, key, name = self._unmarked(rows.marked, positions, (user, key, name))
        users = self._look_up(rows, user)
        self._check_times(rows, placed_at)
        self._each(rows, price, "price", parse_cents)
        quantities = self._numbers(rows, quantity, "quantity")
        if firsts is not None or not self._sell_single(name, quantities, left):
            lefts = self._numbers(rows, left, "stockQuantity")
            self._sell(rows, firsts, name, quantities, lefts)
        self._orders = positions[-1]
        if firsts is None:
            return Orders(None, positions, users, key)
        self._check_alike(rows, firsts, (user, key, placed_at))
        return Orders(
            firsts,
            [positions[first] for first in firsts],
            [users[first] for first in firsts],
            [key[first] for first in firsts],
        )

    def _numbered(
        self, rows: Rows, column: list[str]
    ) -> tuple[Sequence[int], Sequence[int] | None]:
        """Return the order of each row, and each order's first row: None if that is every row."""
        expected = range(self._orders + 1, self._orders + 1 + len(column))
        if column[-1] == str(expected[-1]) and column == list(map(str, expected)):
            return expected, None
        positions = self._numbers(rows, column, "order")
        return positions, self._firsts(rows, positions)

    def _numbers(self, rows: Rows, column: Sequence[str], name: str) -> list[int]:
        texts = set(column)  # nearly all repeat
        if not all(map(_is_number, texts)):
            number = next(n for n, text in enumerate(column) if not _is_number(text))
            raise self._defect(rows, number, f"{name}: expected a whole number", column[number])
        numbers = {text: int(text) for text in texts}
        return [numbers[text] for text in column]

    def _unmarked(
        self, marks: Sequence[bool], positions: Sequence[int], columns: Sequence[Sequence[str]]
    ) -> list[list[str]]:
        """Return cells without their marks; note where an apostrophe is none."""
        for position, marked, *cells in zip(positions, marks, *columns, strict=True):
            if not marked and any(cell.startswith("'") for cell in cells):
                self.literal.append(position)
        return [
            [unmark(cell) if marked else cell for cell, marked in zip(column, marks, strict=True)]
            for column in columns
        ]

    def _firsts(self, rows: Rows, positions: Sequence[int]) -> list[int]:
        """Return each order's first row. Positions have no gaps."""
        expected = self._orders + 1
        if positions[0] != expected:
            raise self._defect(rows, 0, f"expected order {expected}", str(positions[0]))
        firsts = [0]
        for number, (before, here) in enumerate(pairwise(positions), 1):
            if here == before + 1:
                firsts.append(number)
            elif here != before:
                raise self._defect(rows, number, f"expected order {before + 1}", str(here))
        return firsts

    def _look_up(self, rows: Rows, names: Sequence[str]) -> list[int]:
        known = self._users
        try:
            return [known[name] for name in names]
        except KeyError:
            number = next(n for n, name in enumerate(names) if name not in known)
            raise self._defect(rows, number, f"users.csv has no {_quoted(names[number])}") from None

    def _check_times(self, rows: Rows, column: Sequence[str]) -> None:
        """Let every time be one that can be read; at eight times the speed of reading it."""
        times = set(column)
        text = "".join(times)
        fits = set(map(len, times)) == {len(TIME)}
        for at in TIME_MARKS:
            fits = fits and text[at :: len(TIME)] == TIME[at] * len(times)
        try:
            if fits:
                list(map(datetime.fromisoformat, times))
                self.newest_at_ms = parse_time(column[-1])
                return
        except ValueError:
            pass  # it is named below
        self._each(rows, column, "placedAt", parse_time)
        self.newest_at_ms = parse_time(column[-1])

    def _each(
        self, rows: Rows, column: Sequence[str], name: str, read: Callable[[str], object]
    ) -> None:
        """Let each cell be read, one that repeats only once. Names the first that is wrong."""
        for text in dict.fromkeys(column):
            try:
                read(text)
            except ValueError as problem:
                raise self._defect(rows, column.index(text), f"{name}: {problem}", text) from None

    def _sell(
        self,
        rows: Rows,
        firsts: Sequence[int] | None,
        names: Sequence[str],
        quantities: Sequence[int],
        lefts: Sequence[int],
    ) -> None:
        """Take what was sold out of the stock; hold what was left after each order against it."""
        if 0 in quantities:
            number = quantities.index(0)
            raise self._defect(rows, number, "quantity: expected 1 or more", "0")
        ends = range(1, len(names) + 1) if firsts is None else [*firsts[1:], len(names)]
        stock = self.stock
        number = first = 0
        try:
            for end in ends:
                for number in range(first, end):
                    stock[names[number]] -= quantities[number]
                for number in range(first, end):
                    if stock[names[number]] != lefts[number]:
                        expected = f"expected stockQuantity {stock[names[number]]}"
                        raise self._defect(rows, number, expected, str(lefts[number]))
                first = end
        except KeyError:
            what = f"products.csv has no {_quoted(names[number])}"
            raise self._defect(rows, number, what) from None

    def _sell_single(
        self, names: Sequence[str], quantities: Sequence[int], lefts: list[str]
    ) -> bool:
        """Sell orders of one row each; False, and nothing sold, if any may be wrong."""
        stock = dict(self.stock)
        expected = []
        try:
            for name, quantity in zip(names, quantities, strict=True):
                stock[name] = left = stock[name] - quantity
                expected.append(left)
        except KeyError:
            return False
        right = lefts == list(map(str, expected))  # half the time of reading the numbers
        if 0 in quantities or min(expected) < 0 or not right:
            return False
        self.stock.update(stock)
        return True

    def _check_alike(
        self, rows: Rows, firsts: Sequence[int], columns: Sequence[Sequence[str]]
    ) -> None:
        """Refuse an order whose rows differ in what belongs to the order."""
        others = set(range(len(rows.starts))).difference(firsts)
        for column in columns:
            for number in others:
                if column[number] != column[number - 1]:
                    expected = f"expected {_quoted(column[number - 1])} as in the order's first row"
                    raise self._defect(rows, number, expected, column[number])

    def _defect(
        self, rows: Rows, number: int, expected: str, found: str | None = None
    ) -> StoreError:
        shown = ""
        if found is not None:
            is_number = found.isdecimal() and len(found) <= DIGITS_MAX
            shown = f", found {found if is_number else _quoted(found)}"
        return StoreError(f"{self._path}, line {rows.line + number}: {expected}{shown}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX


def _quoted(text: str) -> str:
    """Return a cell as an error shows it: bounded, and without characters that move a cursor."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")
