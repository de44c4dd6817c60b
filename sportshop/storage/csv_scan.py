"""Reads orders.csv from end to end, as a start does: seals first, then the cells, in columns.

A million orders are to be read in three seconds, so no Python runs for a single row here: a
block of whole batches is split, checked and turned into columns by a few calls.

The rule it keeps is what a crash can leave behind. Batches are written one after another, each
synced before the next begins, so only the last one can be cut short: there is a beginning of it,
or its bytes with zeros where the disk did not get to them. That is set aside. Whatever else does
not fit its seals was done to the file by something else: it is damage, and refused.
Knows no order, no stock and no user.
"""

import array
import bisect
import csv
import os
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, pairwise
from pathlib import Path
from typing import NamedTuple

from sportshop.storage.csv_mark import Mark
from sportshop.storage.csv_rows import HEADER, MARKED, ORDER_COLUMNS, SEAL_BYTES
from sportshop.storage.interface import StoreError

BLOCK_BYTES = 1 << 15  # the cells of more do not fit in a processor's cache: some percent slower
SEAL = re.compile(rb",[0-9a-f]{8}\n")
SEALS = re.compile(rb"(?:,[0-9a-f]{8})*")
SEAL_DIGITS = SEAL_BYTES - 1
REMOVE_THE_MARK = " (to open it as it is, remove ledger.mark)"
COMMAS = len(ORDER_COLUMNS) - 1
STRIDE = len(ORDER_COLUMNS) + 1  # from a cell to the one below, with an LF as the last of a row
# A row that was cut short anywhere has at least this shape: number, time, and whatever follows.
ROW_BEGINS = re.compile(rb"[0-9]*\Z|[0-9]+,[-0-9T:.Z]*\Z|[0-9]+,[-0-9T:.Z]{24},")


class Rows(NamedTuple):
    """The rows of some whole batches, column by column."""

    line: int
    """The first row's line in the file."""
    starts: Sequence[int]
    """Where each row begins in the file, in bytes."""
    columns: Sequence[list[str]]
    """The cells, in the order of ORDER_COLUMNS."""
    marked: Sequence[bool] | None
    """For each row, whether its cells may be marked; None if none begins with an apostrophe."""


class Scan:
    """One reading of orders.csv.

    Afterwards `end` is where the last whole batch ends, `torn_bytes` how many bytes follow it that
    a crash may have left, and `seals` the running CRC of all seals.
    """

    def __init__(self, path: Path, descriptor: int, mark: Mark | None) -> None:
        self._path = path
        self._file = descriptor
        self._mark = mark
        self._line = 2
        self._read_to = len(HEADER)
        self._last_order = "0"
        self._marked_batches: list[tuple[int, int]] = []  # of the block at hand: begin, end
        self.end = len(HEADER)
        self.torn_bytes = 0
        self.seals = 0

    def __iter__(self) -> Iterator[Rows]:
        """Yield the rows of all whole batches. Raises StoreError if the file is damaged."""
        self._check_header()
        if self._mark is not None and self._mark.size == self.end:
            self._check_mark(self._mark, 0)
        rest = b""
        while chunk := self._next_chunk(len(rest)):
            block = rest + chunk
            sealed = _end_of_last_seal(block)
            if sealed:
                batches, rest = block[:sealed], block[sealed:]
                lines = batches.split(b"\n")[:-1]
                ends = list(accumulate([len(line) + 1 for line in lines]))
                right = self._check_seals(batches, lines, ends)
                if right:
                    rows = bisect.bisect_right(ends, right)
                    yield self._columns(batches[:right], lines[:rows], ends[:rows])
                if right < sealed:
                    rest = self._wrong_seal(batches[right:], rest)
                    break
            else:
                rest = block
        self._check_length()
        self._check_torn(rest)
        self.torn_bytes = len(rest)

    def _check_header(self) -> None:
        if os.pread(self._file, len(HEADER), 0) != HEADER:
            raise self._error(1, f"expected {HEADER.decode().strip()}")

    def _next_chunk(self, waiting: int) -> bytes:
        chunk = os.pread(self._file, max(BLOCK_BYTES, waiting), self._read_to)
        self._read_to += len(chunk)
        return chunk

    def _check_seals(self, batches: bytes, lines: Sequence[bytes], row_ends: Sequence[int]) -> int:
        """Return where the last batch ends whose seal, and each before it, is right."""
        sealed = [line[-1:] != b"," for line in lines]
        seals = b"".join([line[-SEAL_BYTES:] for line in compress(lines, sealed)])
        ends = list(compress(row_ends, sealed))
        if len(seals) != SEAL_BYTES * len(ends) or not SEALS.fullmatch(seals):
            seals = b"".join(match[0] for match in SEAL.finditer(batches)).replace(b"\n", b"")
            ends = [match.end() for match in SEAL.finditer(batches)]
        digits = seals.replace(b",", b"")
        crc32, starts = zlib.crc32, [0, *ends]
        crcs = array.array("I", [crc32(batches[a : b - SEAL_BYTES]) for a, b in pairwise(starts)])
        expected = array.array("I", bytes.fromhex(digits.decode()))
        if sys.byteorder == "little":
            expected.byteswap()
        self._marked_batches = []
        if crcs != expected:
            ends = self._compare_one_by_one(crcs, expected, ends)
        self._take_seals(digits, ends)
        return ends[-1] if ends else 0

    def _compare_one_by_one(
        self, crcs: Sequence[int], expected: Sequence[int], ends: list[int]
    ) -> list[int]:
        for number, (crc, seal) in enumerate(zip(crcs, expected, strict=True)):
            if crc ^ MARKED == seal:
                self._marked_batches.append((ends[number - 1] if number else 0, ends[number]))
            elif crc != seal:
                return ends[:number]
        return ends

    def _take_seals(self, digits: bytes, ends: Sequence[int]) -> None:
        """Add to the running CRC; hold the ledger against the mark when that is reached."""
        mark = self._mark
        if mark is not None and ends and self.end < mark.size <= self.end + ends[-1]:
            until = mark.size - self.end
            count = ends.index(until) + 1 if until in ends else 0
            self._check_mark(mark, zlib.crc32(digits[: count * SEAL_DIGITS], self.seals))
        self.seals = zlib.crc32(digits[: len(ends) * SEAL_DIGITS], self.seals)

    def _check_mark(self, mark: Mark, seals: int) -> None:
        if f"{seals:08x}" != mark.seals:
            raise StoreError(
                f"{self._path}: its first {mark.size} bytes are not the {mark.orders} orders that"
                f" the store had{REMOVE_THE_MARK}"
            )

    def _columns(self, batches: bytes, lines: Sequence[bytes], ends: Sequence[int]) -> Rows:
        """Turn checked batches into columns, and note that they are read."""
        starts = [self.end + end for end in (0, *ends)]
        first = self._line
        columns = self._split(lines, batches)
        marked = self._marks(starts) if b"'" in batches else None
        self._line += len(lines)
        self._last_order = columns[0][-1]
        self.end = starts.pop()
        return Rows(first, starts, columns, marked)

    def _split(self, lines: Sequence[bytes], batches: bytes) -> list[list[str]]:
        try:
            text = batches.decode()
        except UnicodeDecodeError as problem:
            line = self._line + batches.count(b"\n", 0, problem.start)
            raise self._error(line, "expected UTF-8") from None
        if '"' in text:
            cells = self._quoted_cells(text.split("\n")[:-1])
        else:
            cells = _plain_cells(text, len(lines))
        if not cells:
            raise self._columns_error([line.split(b",") for line in lines])
        return [cells[column::STRIDE] for column in range(len(ORDER_COLUMNS))]

    def _quoted_cells(self, lines: list[str]) -> list[str]:
        """Let the csv module read the rows that need it, and put their cells among the others."""
        numbers = [n for n, line in enumerate(lines) if '"' in line or "\r" in line]
        try:
            rows = list(csv.reader([lines[number] for number in numbers], strict=True))
        except csv.Error:
            raise self._quoted_error(lines) from None
        plain = lines.copy()
        for number in numbers:
            plain[number] = "," * COMMAS
        cells = _plain_cells("\n".join([*plain, ""]), len(lines))
        if not cells or len(rows) != len(numbers) or set(map(len, rows)) != {len(ORDER_COLUMNS)}:
            raise self._quoted_error(lines)
        for number, row in zip(numbers, rows, strict=True):
            cells[number * STRIDE : number * STRIDE + len(row)] = row
        return cells

    def _quoted_error(self, lines: Sequence[str]) -> StoreError:
        reader = csv.reader(lines, strict=True)
        try:
            return self._columns_error(list(reader))
        except csv.Error as problem:
            line = self._line + max(reader.line_num - 1, 0)
            return self._error(line, f"not correct CSV: {problem}")

    def _columns_error(self, rows: Sequence[Sequence[object]]) -> StoreError:
        wrong = (n for n, row in enumerate(rows) if len(row) != len(ORDER_COLUMNS))
        line = self._line + next(wrong, len(rows))
        return self._error(line, f"expected {len(ORDER_COLUMNS)} columns")

    def _marks(self, starts: Sequence[int]) -> Sequence[bool]:
        marked = [False] * (len(starts) - 1)
        for begin, end in self._marked_batches:
            first = bisect.bisect_left(starts, self.end + begin)
            last = bisect.bisect_left(starts, self.end + end)
            marked[first:last] = [True] * (last - first)
        return marked

    def _wrong_seal(self, batch: bytes, rest: bytes) -> bytes:
        """Return what a crash may have left, given the first batch whose seal is wrong.

        Raises StoreError if no crash leaves that.
        """
        first = self._line
        last = SEAL.search(batch)
        assert last is not None  # noqa: S101 - that is why it counts as a batch
        sealed = batch.count(b"\n", 0, last.end())
        rest = batch[last.end() :] + rest
        batch = batch[: last.end()]
        while not (following := SEAL.search(rest)) and (chunk := self._next_chunk(len(rest))):
            rest += chunk
        if following:
            sealed += rest.count(b"\n", 0, following.end())
        elif not rest and b"\0" in batch:
            return batch
        raise StoreError(
            f"{self._path}, lines {first} to {first + sealed - 1}: damaged: wrong seal"
        )

    def _check_length(self) -> None:
        mark = self._mark
        if mark is not None and self.end < mark.size:
            raise StoreError(
                f"{self._path}, line {self._line}: orders are missing: the store had"
                f" {mark.orders} in {mark.size} bytes{REMOVE_THE_MARK}"
            )

    def _check_torn(self, rest: bytes) -> None:
        """Refuse an end that no crash leaves."""
        written, _, _ = rest.partition(b"\0")  # whatever follows zeros can't be told
        *rows, last = written.split(b"\n")
        order = b"%d," % (int(self._last_order) + 1)  # who took the rows has checked them
        for number, row in enumerate([*rows, last]):
            begins = ROW_BEGINS.match(row) is not None
            if number == 0:
                begins = begins and (row.startswith(order) or order.startswith(row))
            whole = number == len(rows) or (row.endswith(b",") and row.count(b",") >= COMMAS)
            if not (begins and whole):
                raise self._error(
                    self._line + number, "damaged: neither a batch nor what a crash leaves of one"
                )

    def _error(self, line: int, what: str) -> StoreError:
        return StoreError(f"{self._path}, line {line}: {what}")


def _plain_cells(text: str, rows: int) -> list[str]:
    """Return the cells of rows without quotes, each row's LF as a cell; none if a row is wrong."""
    cells = text.replace("\n", ",\n,").split(",")
    cells.pop()
    fits = len(cells) == STRIDE * rows and cells[STRIDE - 1 :: STRIDE] == ["\n"] * rows
    return cells if fits else []


def _end_of_last_seal(block: bytes) -> int:
    """Return where the last sealed row of a block ends, 0 if it has none."""
    end = block.rfind(b"\n") + 1
    while end and not SEAL.match(block, max(end - SEAL_BYTES - 1, 0), end):
        end = block.rfind(b"\n", 0, end - 1) + 1
    return end
