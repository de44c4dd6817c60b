"""Stores: users, products and orders of a shop, in memory, in CSV files or in SQLite.

interface.py is what a store has to do; every other file does it, each in its own way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sportshop.catalogue import Catalogue
from sportshop.storage import sqlite
from sportshop.storage.csv import CsvStore
from sportshop.storage.interface import Store
from sportshop.storage.memory import MemoryStore
from sportshop.storage.places import FORMS, Place, place_of
from sportshop.storage.sqlite import SqliteStore
from sportshop.users import UserRepository

__all__ = ["FORMS", "open_store", "open_users"]


def open_store(url: str, catalogue: Callable[[], Catalogue]) -> Store:
    """Open a store, one process at a time; an empty one is filled from the catalogue first.

    Raises StoreError (unknown, in use, not ours, damaged) and what `catalogue` raises, which is
    called only if the store is empty.
    """
    return _open(place_of(url), catalogue)


def _open(place: Place, catalogue: Callable[[], Catalogue]) -> Store:
    match place.kind:
        case "csv":
            return CsvStore(place.path, catalogue)
        case "sqlite":
            return SqliteStore(place.path, catalogue)
        case _:
            return MemoryStore(catalogue())


@contextmanager
def open_users(url: str, catalogue: Callable[[], Catalogue]) -> Iterator[UserRepository]:
    """Open a store's users to add some: in SQLite beside a server that may be running.

    Raises what open_store raises.
    """
    place = place_of(url)
    if place.kind == "sqlite":
        with sqlite.open_users(place.path, catalogue) as users:
            yield users
        return
    store = _open(place, catalogue)
    try:
        yield store.users
    finally:
        store.close()
