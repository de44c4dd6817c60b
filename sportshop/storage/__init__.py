"""Stores: users, products and orders of a shop, in memory, in CSV files or in SQLite.

interface.py is what a store has to do; every other file does it, each in its own way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sportshop.catalogue import Catalogue
from sportshop.storage import sqlite
from sportshop.storage.csv import CsvStore
from sportshop.storage.interface import Store, StoreError
from sportshop.storage.memory import MemoryStore
from sportshop.storage.sqlite import SqliteStore
from sportshop.users import UserRepository

FORMS = "memory:, csv:FOLDER or sqlite:FILE"


def open_store(url: str, catalogue: Callable[[], Catalogue]) -> Store:
    """Open a store, one process at a time; an empty one is filled from the catalogue first.

    Raises StoreError (unknown, in use, not ours, damaged) and what `catalogue` raises, which is
    called only if the store is empty.
    """
    kind, colon, place = url.partition(":")
    path = Path(place)
    match kind:
        case "memory" if colon and not place:
            return MemoryStore(catalogue())
        case "csv" if place:
            return CsvStore(path, catalogue)
        case "sqlite" if place:
            return SqliteStore(path, catalogue)
    raise StoreError(f"unknown store {url!r}: expected {FORMS}")


@contextmanager
def open_users(url: str, catalogue: Callable[[], Catalogue]) -> Iterator[UserRepository]:
    """Open a store's users to add some: in SQLite beside a server that may be running.

    Raises what open_store raises.
    """
    kind, _, place = url.partition(":")
    path = Path(place)
    if kind == "sqlite" and place:
        with sqlite.open_users(path, catalogue) as users:
            yield users
        return
    store = open_store(url, catalogue)
    try:
        yield store.users
    finally:
        store.close()
