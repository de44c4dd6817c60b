"""ledger.mark: how far orders.csv went, so that a shorter or another one is noticed.

A ledger that ends at a whole batch looks right wherever it was cut. So it is noted beside it how
many orders and bytes it had, with a CRC of its seals: at every start and stop, and every so many
orders. It is noted after the disk has the orders and never before, so that no crash leaves a mark
that is ahead of its ledger. A ledger that is longer than its mark is right: the shop was killed.
A store without a mark is one of an earlier version, or its operator has removed it on purpose.
"""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from sportshop.storage.csv_files import is_full, write_durably
from sportshop.storage.interface import StoreError

NAME = "ledger.mark"
EVERY_ORDERS = 100
"""How many orders a shop that was killed may have had since the mark, besides its last batch."""


class Mark(msgspec.Struct, frozen=True):
    """How far a ledger went at some moment: always at the end of a whole batch."""

    orders: int
    size: int = msgspec.field(name="bytes")
    seals: str
    """The running CRC of the batches' seals, in hexadecimal."""


class MarkFile:
    """The file. It is written in place, always the same number of bytes: that needs no room."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file = -1
        self._orders = 0

    def read(self) -> Mark | None:
        """Return the mark. Raises StoreError if there is one that can't be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Mark)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise StoreError(f"{self._path}: {problem.strerror}") from None
        except (msgspec.DecodeError, ValueError):
            raise StoreError(
                f"{self._path}: damaged: remove it if you are sure that orders.csv is whole"
            ) from None

    def open(self, mark: Mark) -> None:
        """Write the first mark of a run. On a full disk the run has none."""
        try:
            write_durably(self._path, _encode(mark))
        except OSError as problem:
            if not is_full(problem):
                raise
            return
        self._orders = mark.orders
        self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)

    def is_due(self, orders: int) -> bool:
        """Tell whether so many orders deserve a new mark."""
        return orders - self._orders >= EVERY_ORDERS

    def write(self, mark: Mark) -> None:
        """Write a mark without waiting for the disk. A mark that fails is an older mark."""
        self._orders = mark.orders
        if self._file >= 0:
            with suppress(OSError):
                os.pwrite(self._file, _encode(mark), 0)

    def close(self, mark: Mark) -> None:
        """Write the last mark of a run, durably."""
        self.write(mark)
        if self._file >= 0:
            with suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = -1


def _encode(mark: Mark) -> bytes:
    """Return a line of JSON, of the same length always."""
    return b'{"orders":%12d,"bytes":%16d,"seals":"%s"}\n' % (
        mark.orders,
        mark.size,
        mark.seals.encode(),
    )
