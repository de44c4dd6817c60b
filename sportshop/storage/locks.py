"""One server a store: a lock that ends with the process, however it ends."""

import fcntl
import os
from pathlib import Path

from sportshop.storage.interface import StoreError, StoreLocked


def lock_file(path: Path, store: str) -> int:
    """Create and lock a file; return its descriptor, to be closed to unlock.

    Raises StoreLocked if another process (or another open store of this one) has it, and
    StoreError if the file cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise StoreError(f"store {store}: {path}: {problem.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreLocked(f"store {store} is open in another process") from None
    return descriptor
