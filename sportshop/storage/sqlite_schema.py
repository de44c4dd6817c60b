"""Making and opening a SQLite store's database: its tables, its first contents, its connection."""

import secrets
from collections.abc import Callable
from pathlib import Path

import apsw

from sportshop import tokens
from sportshop.catalogue import Catalogue
from sportshop.storage.interface import StoreError
from sportshop.storage.sqlite_file import has_to_be_filled, make_whole
from sportshop.storage.sqlite_query import (
    connect,
    connect_to_file_alone,
    is_no_room_to_open,
    keep_log_at_close,
    number,
    transaction,
)
from sportshop.storage.sqlite_read import insert_users

APPLICATION_ID = 0x53_50_53_48  # "SPSH": tells our file from every other SQLite database
SCHEMA_VERSION = 1
WAL_BYTES_KEPT = 64 * 1024 * 1024
USERS_BUSY_WAIT_MS = 10_000
SCHEMA = """
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL
) STRICT;
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    stock INTEGER NOT NULL CHECK (stock >= 0)
) STRICT;
CREATE TABLE ledger (
    line INTEGER PRIMARY KEY, -- position * 100 + index of the item in its order
    placed_at_ms INTEGER NOT NULL,
    user INTEGER NOT NULL REFERENCES users,
    previous INTEGER NOT NULL, -- position of the same user's order before this one, or 0
    order_key TEXT,
    product INTEGER NOT NULL REFERENCES products,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price_cents INTEGER NOT NULL,
    stock_after INTEGER NOT NULL CHECK (stock_after >= 0)
) STRICT;
CREATE TABLE order_keys ( -- as of settings.index_as_of; key first: by time, they are appended
    order_key TEXT NOT NULL,
    user INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (order_key, user)
) STRICT, WITHOUT ROWID;
CREATE TABLE heads ( -- each user's newest order, as of settings.index_as_of
    user INTEGER PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;
CREATE VIEW orders AS -- for people
    SELECT line / 100 AS "order", line % 100 + 1 AS item,
           strftime('%Y-%m-%dT%H:%M:%fZ', placed_at_ms / 1000.0, 'unixepoch') AS placed_at,
           users.name AS user, order_key, products.name AS product, quantity,
           ledger.price_cents / 100.0 AS price, stock_after
    FROM ledger JOIN users ON users.id = ledger.user JOIN products ON products.id = ledger.product;
"""


class NoRoom(Exception):
    """There is no room on the disk for what SQLite needs beside a database."""


def open_to_write(path: Path, store: str, alone: bool = False) -> apsw.Connection:
    """Return a connection to write with, to a database that is filled.

    It leaves the log as it is when it is closed, until it is told otherwise.
    `alone` keeps the log's index in memory, where it needs no room on the disk, and everybody else
    out. Raises NoRoom; StoreError if it is not ours or of another version; apsw.Error.
    """
    connection = connect(path)
    try:
        keep_log_at_close(connection, keep=True)
        if alone:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.set_busy_timeout(USERS_BUSY_WAIT_MS)
        check_is_ours(connection, store)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        connection.set_busy_timeout(0)
    except Exception as problem:
        no_room = not alone and is_no_room_to_open(problem, connection)
        connection.close()
        if no_room:
            raise NoRoom from None
        raise
    return connection


def make_if_missing(
    path: Path, store: str, was_here: bool, catalogue: Callable[[], Catalogue]
) -> None:
    """Fill a store from the catalogue where there is nothing of one. Raises StoreError.

    Only the holder of the store's lock may.
    """
    if has_to_be_filled(path, store, was_here):
        contents = catalogue()
        make_whole(path, lambda new: _fill_alone(new, contents))
        return
    if was_here or not _is_new(path):
        return
    connection = connect(path)
    try:
        with transaction(connection):
            _fill(connection, catalogue())
    finally:
        connection.close()


def _is_new(path: Path) -> bool:
    """Tell whether a database has nothing in it and is nobody's."""
    connection = connect_to_file_alone(path)
    try:
        tables = number(connection, "SELECT count(*) FROM sqlite_schema")
        return not tables and not number(connection, "PRAGMA application_id")
    finally:
        connection.close()


def check_is_ours(connection: apsw.Connection, store: str) -> None:
    """Raise StoreError if the database is not a store, or one of another version."""
    if number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise StoreError(f"store {store} is a database, but not one of a sportshop")
    version = number(connection, "PRAGMA user_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"store {store} has schema version {version}:"
            f" this sportshop knows version {SCHEMA_VERSION}"
        )


def _fill_alone(path: Path, catalogue: Catalogue) -> None:
    """Fill a database that nobody else knows of; it is durable once its file is synced."""
    connection = connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        with transaction(connection):
            _fill(connection, catalogue)
    finally:
        connection.close()


def _fill(connection: apsw.Connection, catalogue: Catalogue) -> None:
    connection.execute(SCHEMA)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    key = secrets.token_bytes(tokens.KEY_BYTES)
    connection.execute("INSERT INTO settings VALUES ('token_key', ?)", (key,))
    connection.executemany(
        "INSERT INTO products (name, price_cents, stock) VALUES (?, ?, ?)",
        ((product.name, product.price, product.stock) for product in catalogue.products),
    )
    insert_users(connection, catalogue.users)
