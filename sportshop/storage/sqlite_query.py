"""Asking SQLite: connections, queries that run to their end, and what its errors mean.

Knows no table: what is asked stands in the modules that ask.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from sportshop.storage.interface import StorageFailed, StoreBusy, StoreFull

BUSY = (apsw.BusyError, apsw.LockedError)
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What SQLite reports where a write-ahead log or its index cannot be made for lack of room.
NEEDS_ROOM = {apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMOPEN, apsw.SQLITE_IOERR_SHMMAP}


def connect(path: Path, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
    """Connect to a database that exists. Raises apsw.Error."""
    return apsw.Connection(str(path), flags=flags, statementcachesize=100)


def keep_log_at_close(connection: apsw.Connection, keep: bool) -> None:
    """Say whether the last one to close a database leaves its log as it is.

    Otherwise SQLite writes it back and removes it, which must not happen to a log that is not of
    the database: as long as that is not known, nothing is written.
    """
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(keep))


def connect_to_file_alone(path: Path) -> apsw.Connection:
    """Connect to what is in the file itself, without its log, to read. Raises apsw.Error.

    Nobody in this process may have it open: to close this drops the locks that they have.
    """
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"file:{quote(str(path))}?immutable=1", flags=flags)


def rows(
    connection: apsw.Connection, query: str, bindings: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Run a query to its end, so that no read is left open. Raises StorageFailed."""
    try:
        return connection.execute(query, bindings).fetchall()
    except (apsw.Error, UnicodeDecodeError) as problem:
        raise StorageFailed(str(problem)) from None


def row(
    connection: apsw.Connection, query: str, bindings: Sequence[Any] = ()
) -> tuple[Any, ...] | None:
    """Return the first row, if there is one. Raises StorageFailed."""
    return next(iter(rows(connection, query, bindings)), None)


def number(connection: apsw.Connection, query: str) -> int:
    """Return the whole number that a query has for an answer, or 0. Raises StorageFailed."""
    found = (row(connection, query) or (0,))[0] or 0
    if not isinstance(found, int):
        raise StorageFailed(f"damaged: expected a number, found {found!r:.40} ({query})")
    return found


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Commit what is written inside, or nothing of it. Raises apsw.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: apsw.Connection) -> None:
    """End the transaction that is open, if there is one, without a trace. Raises apsw.Error."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def is_no_room(problem: Exception, connection: apsw.Connection) -> bool:
    """Tell whether a *write* failed for lack of room: on the disk, in a quota, by a limit.

    SQLite says FULL where a write got ENOSPC or came out short, and IOERR_WRITE for the rest. A
    sync that fails is none of these, whatever its errno: then nobody knows what is on the disk.
    """
    if isinstance(problem, apsw.FullError):
        return True
    code = getattr(problem, "extendedresult", 0)
    return code == apsw.SQLITE_IOERR_WRITE and connection.system_errno in NO_ROOM


def is_no_room_to_open(problem: Exception, connection: apsw.Connection) -> bool:
    """Tell whether a database could not be opened for lack of room beside it."""
    if isinstance(problem, StorageFailed) and isinstance(problem.__context__, apsw.Error):
        problem = problem.__context__
    code = getattr(problem, "extendedresult", 0)
    return code in NEEDS_ROOM or is_no_room(problem, connection)


def write_failure(problem: apsw.Error, connection: apsw.Connection) -> Exception:
    """Roll a write or a COMMIT that failed back; return what it means for its batch.

    StoreFull and StoreBusy: it is certain that nothing was kept. SQLite writes a batch's frames to
    the log in order, the one that commits it last, and only then syncs: if a write failed, that
    last frame is not there whole. Everything else, a failed sync above all, is in doubt.
    """
    no_room, busy = is_no_room(problem, connection), isinstance(problem, BUSY)
    try:
        roll_back(connection)
    except apsw.Error as worse:
        return StorageFailed(f"{problem}; {worse}")
    if no_room:
        return StoreFull(str(problem))
    return StoreBusy(str(problem)) if busy else StorageFailed(str(problem))
