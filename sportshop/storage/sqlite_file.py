"""The files of a SQLite store: found, locked, filled, closed to other users, and still there.

A database is one file and, while it is open, a write-ahead log `-wal` with its index `-shm`
beside it. They go by its name, and locks by its inode, so a store is opened by its real path.
Looks at no row: what the database says is the business of the modules that read it.
"""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from sportshop.storage.interface import StorageFailed, StoreError, StoreLocked
from sportshop.storage.locks import lock_byte, lock_file

BESIDE = ("-wal", "-shm", "-journal")
HEADER_BYTES = 100
PAGE_BYTES_MIN = 512
MAGIC = b"SQLite format 3\0"
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
LOCKED_BYTE = 0x4000_0000 + 1024  # SQLite locks the 512 bytes from 0x4000_0000 on
ROOM_BYTES = 256 * 1024  # for an index of the log, and some orders
PRIVATE = 0o600

log = logging.getLogger(__name__)
Identity = tuple[int, int]
_open_here: set[Identity] = set()


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to the database."""
    return path.with_name(path.name + suffix)


@contextmanager
def one_line(store: str) -> Iterator[None]:
    """Turn everything that keeps a store from being opened into a StoreError of one line."""
    try:
        yield
    except (apsw.Error, StorageFailed) as problem:
        raise StoreError(f"store {store}: {problem}") from None
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        raise StoreError(f"store {store}: {where}{problem.strerror}") from None


class DatabaseFile:
    """The file of one store, locked for this process as long as it is not closed.

    Two locks: that of a file beside it, which is there before the database is, and one on the
    database itself, which meets whoever comes by another name: a hard link, a mount.
    """

    def __init__(self, path: Path, store: str) -> None:
        """Take the first lock. Raises StoreError, StoreLocked."""
        self.given = path
        self.path = real_path(path, store)
        self.store = store
        self.was_here = beside(self.path, ".lock").exists()
        self._lock = lock_file(beside(self.path, ".lock"), store)
        self._descriptor = -1
        self._identity: Identity | None = None
        self._identities: dict[Path, Identity] = {}

    @property
    def descriptor(self) -> int:
        """To read with. It must not be closed before SQLite's connections are."""
        return self._descriptor

    def lock_database(self) -> None:
        """Take the second lock, on the database, which exists. Raises StoreError, StoreLocked."""
        identity = _identity(self.path)
        # To close a descriptor of a file drops the locks that SQLite has on it in this process, so
        # a second store on the same file has to be refused before it has one.
        if identity in _open_here:
            raise StoreLocked(f"store {self.store} is open in another process")
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        lock_byte(self._descriptor, LOCKED_BYTE, self.store)
        _open_here.add(identity)
        self._identity = identity

    def note_what_is_open(self) -> None:
        """Remember which files are open now that SQLite has opened all of them."""
        self._identities = {self.given: _identity(self.path)}
        for path in (beside(self.path, "-wal"), beside(self.path, "-shm")):
            with suppress(FileNotFoundError):  # there is no index where there was no room for it
                self._identities[path] = _identity(path)

    def check_is_there(self) -> None:
        """Raise StorageFailed if a path no longer leads to the file that is open."""
        for path, identity in self._identities.items():
            try:
                found = _identity(path)
            except OSError as problem:
                raise StorageFailed(f"{path} is gone: {problem.strerror}") from None
            if found != identity:
                raise StorageFailed(f"{path} is no longer the file that the shop has open")
        if os.fstat(self._descriptor).st_size < PAGE_BYTES_MIN:
            raise StorageFailed(f"{self.path} was emptied")

    def close(self) -> None:
        """Let go of both locks: after SQLite's connections, or their locks would go too early."""
        if self._identity is not None:
            _open_here.discard(self._identity)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        os.close(self._lock)


def real_path(path: Path, store: str) -> Path:
    """Return where a path leads to, through symbolic links. Raises StoreError if to no file."""
    real = Path(os.path.realpath(path))
    try:
        kind = real.stat().st_mode
    except FileNotFoundError:
        return real
    except OSError as problem:
        raise StoreError(f"store {store}: {problem.filename}: {problem.strerror}") from None
    if stat.S_ISDIR(kind):
        raise StoreError(
            f"store {store}: unable to open database file: it is a folder;"
            f" name a file in it, such as sqlite:{path / 'shop.db'}"
        )
    if not stat.S_ISREG(kind):
        raise StoreError(f"store {store}: unable to open database file: it is no file")
    return real


def has_to_be_filled(path: Path, store: str, was_here: bool) -> bool:
    """Tell whether there is nothing of a store yet. Raises StoreError for remains of one.

    `was_here`: its lock was there before. The lock alone is nothing that could be lost.
    """
    left = [beside(path, suffix).name for suffix in BESIDE if beside(path, suffix).exists()]
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        if not left:
            return True
        raise StoreError(
            f"store {store}: {path.name} is missing, but {' and '.join(left)} of it"
            f" {'is' if len(left) == 1 else 'are'} still there: put {path.name} back,"
            f" or remove the rest to begin with a new store"
        ) from None
    if size == 0 and (left or was_here):
        raise StoreError(
            f"store {store}: {path.name} is empty, and a store was here before: put a copy of it"
            " back, or remove it and what is beside it to begin with a new store"
        )
    if 0 < size < PAGE_BYTES_MIN:  # SQLite would take some of these for empty ones
        raise StoreError(f"store {store}: file is not a database")
    return size == 0


def make_whole(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a database by `fill`, which closes it, under another name: it gets its own when durable.

    A crash, whenever it comes, leaves the whole of it or none. Raises OSError, apsw.Error.
    """
    new = beside(path, ".new")
    for leftover in (new, *(beside(new, suffix) for suffix in BESIDE)):
        leftover.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    try:
        fill(new)
        sync(new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Make the contents of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def close_to_others(path: Path, store: str) -> None:
    """Let only the owner read the store: it has password hashes and the key of the tokens."""
    for file in (path, *(beside(path, suffix) for suffix in (*BESIDE, ".lock"))):
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
            if not mode & 0o077:
                continue
            file.chmod(mode & ~0o077)
        except FileNotFoundError:
            continue
        except OSError as problem:
            said, why = "other users can read the store", problem.strerror
        else:
            said, why = "other users could read the store: closed it to them", None
        facts = {"store": store, "file": file.name, "mode": f"{mode:04o}"}
        log.warning(said, extra={"facts": facts | ({"problem": why} if why else {})})


def has_room(path: Path) -> bool:
    """Tell whether there is room for an index of the log and some orders, by trying."""
    probe = beside(path, ".room")
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
        try:
            return os.write(descriptor, bytes(ROOM_BYTES)) == ROOM_BYTES
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)
    except OSError:
        return False


class Header:
    """The first bytes of a database file. Source: https://sqlite.org/fileformat.html."""

    def __init__(self, descriptor: int) -> None:
        header = os.pread(descriptor, HEADER_BYTES, 0)
        self.is_sqlite = header.startswith(MAGIC) and len(header) == HEADER_BYTES
        self.file_bytes = os.fstat(descriptor).st_size
        self.page_bytes = _number(header[16:18])
        if self.page_bytes == 1:
            self.page_bytes = 65_536
        self.is_sqlite = self.is_sqlite and self.page_bytes >= PAGE_BYTES_MIN
        self.logs_ahead = header[18:20] == b"\2\2"
        self.changes = _number(header[24:28])
        counts_pages = header[24:28] == header[92:96]  # else an old SQLite left the count behind
        self.pages = _number(header[28:32]) if counts_pages else 0


def check_size(descriptor: int, path: Path) -> None:
    """Raise StorageFailed if pages are missing, or the log is not of this database."""
    header = Header(descriptor)
    if not header.is_sqlite:
        return  # SQLite says so itself
    if not header.logs_ahead and has_log(path):
        raise StorageFailed(
            f"{path.name}-wal is not of this {path.name}, which is a copy that was made without it:"
            f" remove {path.name}-wal and {path.name}-shm"
        )
    there = header.file_bytes // header.page_bytes
    missing = set(range(there + 1, header.pages + 1))
    if missing and not missing <= logged_pages(path):
        raise StorageFailed(
            f"{path.name} is cut short: it has {there:,} of {header.pages:,} pages: put a copy back"
        )


def has_log(path: Path) -> bool:
    """Tell whether there is anything in the write-ahead log."""
    wal = beside(path, "-wal")
    return wal.exists() and wal.stat().st_size > WAL_HEADER_BYTES


def logged_pages(path: Path) -> set[int]:
    """Return the numbers of the pages in the log, of a committed change or not."""
    if not has_log(path):
        return set()
    pages = set()
    with beside(path, "-wal").open("rb") as wal:
        frame_bytes = FRAME_HEADER_BYTES + max(_number(wal.read(12)[8:]), PAGE_BYTES_MIN)
        end = wal.seek(0, os.SEEK_END)
        for start in range(WAL_HEADER_BYTES, end - FRAME_HEADER_BYTES + 1, frame_bytes):
            wal.seek(start)
            pages.add(_number(wal.read(4)))
    return pages


def _number(digits: bytes) -> int:
    return int.from_bytes(digits, "big")


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_dev, found.st_ino
