"""One server a store: a lock that ends with the process, however it ends.

A lock is held on a file itself and not on its name: a file that is reached by another path, a
symbolic or a hard link or a mount is locked all the same.
"""

import errno
import os
import struct
from pathlib import Path

from sportshop.storage.interface import StoreError, StoreLocked


def lock_file(path: Path, store: str) -> int:
    """Create and lock a file; return its descriptor, to be closed to unlock.

    Raises StoreLocked if another process (or another open store of this one) has it, and
    StoreError if the file cannot be created or locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise StoreError(
            f"store {store}: there is no folder {path.parent}: make it first"
        ) from None
    except OSError as problem:
        raise StoreError(f"store {store}: {path}: {problem.strerror}") from None
    try:
        lock_descriptor(descriptor, store)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def lock_descriptor(descriptor: int, store: str) -> None:
    """Lock the file that is open as `descriptor`, until that is closed.

    Raises StoreLocked if it is locked through any other open descriptor, in this process or
    another, and StoreError where the file system or the platform has no locks.
    """
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, where the client's commands still run
    except ImportError:
        raise StoreError(f"store {store}: this platform cannot lock files") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLocked(f"store {store} is open in another process") from None
    except OSError as problem:
        raise StoreError(
            f"store {store} cannot be locked: {problem.strerror}:"
            " give it a file system that has file locks"
        ) from None


def lock_byte(descriptor: int, offset: int, store: str) -> None:
    """Lock one byte of an open file for its descriptor, until that is closed.

    Beside the locks that a process has on the file, which SQLite takes on a database. Raises
    StoreLocked and StoreError. Where a system has no such locks (Linux has) it does nothing.
    """
    import fcntl  # noqa: PLC0415 - not on Windows, where the client's commands still run

    command: int | None = getattr(fcntl, "F_OFD_SETLK", None)
    if command is None:
        return
    lock = struct.pack("hhqqiq", fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0, 0)  # struct flock
    try:
        fcntl.fcntl(descriptor, command, lock)
    except OSError as problem:
        if problem.errno in {errno.EAGAIN, errno.EACCES}:
            raise StoreLocked(f"store {store} is open in another process") from None
        if problem.errno != errno.EINVAL:  # so says a kernel that does not know them
            raise StoreError(f"store {store} cannot be locked: {problem.strerror}") from None
