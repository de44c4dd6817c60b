"""orders.csv, open: appending to it, reading single orders, and the index in memory.

In memory are 16 bytes an order (where it stands, and whose it is), 9 bytes an order key, and some
130 bytes a user who has ordered.
"""

import array
import bisect
import logging
import os
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import compress
from pathlib import Path
from stat import S_ISREG

from sportshop.orders import KeyOfUser, Receipt
from sportshop.products import Product
from sportshop.storage.csv_files import is_full, set_aside, sync
from sportshop.storage.csv_keys import KeyTable
from sportshop.storage.csv_mark import Mark, MarkFile
from sportshop.storage.csv_replay import Replay
from sportshop.storage.csv_rows import parse_receipt, parse_rows
from sportshop.storage.csv_scan import Rows, Scan
from sportshop.storage.interface import StorageFailed, StoreError, StoreFull
from sportshop.storage.locks import lock_descriptor
from sportshop.storage.memory import pages
from sportshop.users import User

log = logging.getLogger(__name__)


class CsvLedger:
    """orders.csv, and in memory where each order of it stands.

    Raises StoreLocked, StoreError, OSError.
    """

    def __init__(
        self, path: Path, store: str, users: Iterable[User], opening: Iterable[Product]
    ) -> None:
        self.path = path
        self._starts = array.array("Q")  # by position: where the order begins
        self._own: dict[int, array.array[int]] = defaultdict(_positions)  # by user, ascending
        self._keys = KeyTable()
        self._literal: set[int] = set()  # orders in which a cell's apostrophe is no mark
        self._file = _open(path, store)
        try:
            self._mark = MarkFile(path.parent)
            self._read_all(users, opening)
            sync(self._file)  # the last batch may have been written and not synced
            if self._torn_bytes:
                self._set_aside_if_possible()
            self._mark.open(self._mark_now())
        except BaseException:
            os.close(self._file)
            raise

    def _read_all(self, users: Iterable[User], opening: Iterable[Product]) -> None:
        scan = Scan(self.path, self._file, self._mark.read())
        replay = Replay(self.path, users, opening)
        for rows in scan:
            self._index_all(rows, replay)
            del rows  # their memory is taken for the next ones while it is in the processor's cache
        self.stock, self._newest_at_ms = replay.stock, replay.newest_at_ms
        self.size, self._seals, self._torn_bytes = scan.end, scan.seals, scan.torn_bytes

    def _index_all(self, rows: Rows, replay: Replay) -> None:
        firsts, positions, users, keys = replay.check(rows)
        starts = rows.starts
        self._starts.extend(starts if firsts is None else [starts[first] for first in firsts])
        own = self._own
        for user, position in zip(users, positions, strict=True):
            own[user].append(position)
        keyed: Iterable[KeyOfUser] = zip(users, keys, strict=True)
        if not all(keys):
            positions = list(compress(positions, keys))
            keyed = compress(keyed, keys)
        self._keys.add_all(keyed, positions)
        self._literal.update(replay.literal)

    def count(self) -> int:
        """Return how many positions are taken."""
        return len(self._starts)

    def newest_at_ms(self) -> int:
        """Return when the newest order was placed."""
        return self._newest_at_ms

    def history(
        self, user: User, before: int | None = None, limit: int | None = None
    ) -> Iterator[list[Receipt]]:
        """Yield the user's orders in pages, newest first."""
        own = self._own.get(user.id, ())
        end = len(own) if before is None else bisect.bisect_left(own, before)
        start = 0 if limit is None else max(0, end - limit)
        newest_first = range(end - 1, start - 1, -1)
        return pages(self._read(user, own[index]) for index in newest_first)

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        """Return the receipts of the users' order keys that are in the ledger."""
        found = self._keys.find([(user.id, key) for user, key in keys])
        if not found:
            return {}
        users = {user.id: user for user, _ in keys}
        receipts = {}
        for key, position in found:
            receipt = self._own_receipt(users[key[0]], position)
            if receipt is not None and receipt.key == key[1]:
                receipts[key] = receipt
        return receipts

    def _own_receipt(self, user: User, position: int) -> Receipt | None:
        own = self._own.get(user.id, ())
        index = bisect.bisect_left(own, position)
        return self._read(user, position) if position in own[index : index + 1] else None

    def prepare(self) -> None:
        """Make sure that a batch can be appended. Raises StoreFull, StorageFailed."""
        try:
            if not self._torn_bytes or self._set_aside_if_possible():
                return
        except OSError as problem:
            raise self._failed(problem) from None
        raise StoreFull(f"{self.path}: what a crash left at its end finds no room elsewhere")

    def append(self, batch: bytes) -> None:
        """Append a sealed batch and wait until the disk has it. Raises StoreFull, StorageFailed."""
        try:
            written = os.write(self._file, batch)
            while written < len(batch):
                written += os.write(self._file, batch[written:])
        except OSError as problem:
            raise self._taken_back(problem) from None
        try:
            sync(self._file)
        except OSError as problem:
            raise self._failed(problem) from None

    def _taken_back(self, problem: OSError) -> StoreFull | StorageFailed:
        """Cut off what was written of a batch; nobody was told of it."""
        with suppress(OSError):
            os.ftruncate(self._file, self.size)
            if is_full(problem):
                return StoreFull(f"{self.path}: {problem.strerror}")
        return self._failed(problem)

    def publish(self, receipts: Sequence[Receipt], row_bytes: Sequence[int], seal: bytes) -> None:
        """Show a batch that is durable."""
        starts, own, end = self._starts, self._own, self.size
        keys: list[KeyOfUser] = []
        positions: list[int] = []
        for receipt, size in zip(receipts, row_bytes, strict=True):
            starts.append(end)
            end += size
            user, position = receipt.user.id, receipt.position
            own[user].append(position)
            if receipt.key is not None:
                keys.append((user, receipt.key))
                positions.append(position)
        self.size = end
        self._newest_at_ms = receipts[-1].placed_at_ms
        if keys:
            self._keys.add_all(keys, positions)
        self._seals = zlib.crc32(seal, self._seals)
        if self._mark.is_due(receipts[-1].position):
            self._mark.write(self._mark_now())

    def check_is_there(self) -> None:
        """Raise StorageFailed if the path no longer leads to this file, or it has lost its end."""
        try:
            named, opened = self.path.stat(), os.fstat(self._file)
        except OSError as problem:
            raise self._failed(problem) from None
        if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            raise StorageFailed(f"{self.path}: another file is in its place")
        if opened.st_size < self.size:
            raise StorageFailed(f"{self.path}: its end was cut off")

    def close(self) -> None:
        """Note how far it went, and close the file."""
        self._mark.close(self._mark_now())
        os.close(self._file)

    def _mark_now(self) -> Mark:
        return Mark(self.count(), self.size, f"{self._seals:08x}")

    def _read(self, user: User, position: int) -> Receipt:
        start = self._starts[position - 1]
        end = self._starts[position] if position < self.count() else self.size
        try:
            rows = parse_rows(os.pread(self._file, end - start, start))
            return parse_receipt(rows, user, position not in self._literal)
        except OSError as problem:
            raise self._failed(problem) from None
        except ValueError as problem:
            raise StorageFailed(f"{self.path}, order {position}: {problem}") from None

    def _failed(self, problem: OSError) -> StorageFailed:
        return StorageFailed(f"{self.path}: {problem.strerror}")

    def _set_aside_if_possible(self) -> bool:
        """Move what follows the last whole batch to another file; False if there is no room.

        A crash cut that batch short: nobody was told that it was accepted.
        """
        torn = os.pread(self._file, self._torn_bytes, self.size)
        try:
            kept = set_aside(self.path.parent, self.count(), torn)
        except OSError as problem:
            if not is_full(problem):
                raise
            return False
        os.ftruncate(self._file, self.size)
        facts = {"file": str(kept), "bytes": len(torn), "orders": self.count()}
        log.warning("set aside what a crash left of the last batch", extra={"facts": facts})
        self._torn_bytes = 0
        return True


def _positions() -> "array.array[int]":
    return array.array("Q")


def _open(path: Path, store: str) -> int:
    """Open the file and lock it: it may have a second name in another store's folder."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_is_file(descriptor, path, store)
        lock_descriptor(descriptor, store)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_is_file(descriptor: int, path: Path, store: str) -> None:
    if not S_ISREG(os.fstat(descriptor).st_mode):
        raise StoreError(f"store {store}: {path}: not a file")
