"""Fresh: removes a SQLite store that no shop has open, so that the next start fills a new one.

`make fresh` runs it on the demo's store, and nothing else does: what it removes is gone.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from sportshop.storage.interface import StoreError
from sportshop.storage.sqlite_file import BESIDE, DatabaseFile, beside


def remove_store(path: Path) -> Sequence[Path]:
    """Remove a database and what belongs to it; return which files there were.

    Its lock stays: a shop that starts meanwhile must meet it. Raises StoreError, and StoreLocked
    if a shop has the store open; then nothing was removed.
    """
    store = f"sqlite:{path}"
    if not path.parent.is_dir():
        return ()
    file = DatabaseFile(path, store)
    try:
        if file.path.exists():
            file.lock_database()
        # The log before its database: a log alone would be taken for the rest of a store.
        files = [beside(file.path, suffix) for suffix in BESIDE] + [file.path]
        there = [each for each in files if each.exists()]
        for each in there:
            each.unlink()
        return there
    except OSError as problem:
        raise StoreError(f"store {store}: {problem.filename}: {problem.strerror}") from None
    finally:
        file.close()


def main(arguments: Sequence[str]) -> int:
    """Remove the store that is named; say what was removed. Return the exit code."""
    (name,) = arguments
    try:
        removed = remove_store(Path(name))
    except StoreError as problem:
        print(f"sportshop: {problem}: stop the shop first", file=sys.stderr)
        return 2
    names = ", ".join(str(path) for path in removed)
    print(f"removed {names}" if removed else f"there is no {name}: nothing to remove")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
