"""History: the record of a run, as its customers saw it, in columns.

One row an operation: who asked what, when it was sent and answered, what the shop told. It holds
nothing but answers and what was asked for, so whoever speaks the protocol can write it.
The ledger position and the `asOf` that answers bear put them in order. An operation takes 40 bytes
and each of its items 8, so an order of one item takes 48; what is the same again and again (users,
lines) is in tables, and so is what seldom does not fit (large stocks, odd totals).
Knows no rule: what a correct shop would have answered is the checkers' business.
"""

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

FORMAT = 1
ZIP = b"PK"
"""What a file of NumPy's .npz begins with."""
NO_KEY = 0
FOREIGN_KEY = 2**32 - 1
"""In a list: a key that this run did not make."""
UNKNOWN_PRICE = -(2**62)
"""Of a product that is only asked for: no shop can tell of this price, whatever it lies."""
TOOK_MAX = 2**32 - 1
"""Whatever took as long (71 minutes) or longer."""
NUMBER_MAX = 2**62
"""The largest position, `asOf` and stock of which can be told."""
USERS_MAX = 2**23
QUANTITY_MAX = 2**32 - 1
LARGE = 2**31
"""Set in an item's line: its stock is one of the large ones, and `stock` says which."""

OPERATION = np.dtype(
    [
        ("sent", "<i8"),  # ns, on the worker's clock
        ("place", "<i8"),  # in the ledger: a new or listed order's position, a read's asOf
        ("number", "<i8"),  # what else was told; see Kind
        ("took", "<u4"),  # µs until it was answered, rounded up; at most TOOK_MAX
        ("user", "<u4"),  # index into History.users
        ("key", "<u4"),  # number of the order key among its worker's; NO_KEY, FOREIGN_KEY
        ("items", "<u2"),  # how many rows of History.items are its own
        ("kind", "u1"),
        ("worker", "u1"),  # who sent it; in LISTED: whose key it is
    ]
)
ITEM = np.dtype(
    [
        ("stock", "<i4"),  # what was left, as told; see LARGE
        ("line", "<u4"),  # index into History.lines; see LARGE
    ]
)
Array = npt.NDArray[Any]


class Kind(IntEnum):
    """What an operation was, and what became of it."""

    ACCEPTED = 0
    """An order with its receipt: number is the total in cents, items are as told. It is new, so
    its `asOf` is its position: another is remarked upon."""
    REPLAYED = 1
    """The same, sold before under this key: place is its `asOf`, number its position. The total is
    the sum of the items, or one of the odd totals."""
    SOLD_OUT = 2
    """An order refused for want of stock: the items asked for, and last what was told: of which
    product how many were requested (quantity) and available (stock). Where that is the one item
    that was asked for, it is told of once."""
    NOT_FOUND = 3
    """An order refused for a product that does not exist: likewise."""
    KEY_REUSED = 4
    """An order refused because its key was used for other items: the items asked for."""
    NOT_DONE = 5
    """An order refused for another reason, such as BUSY: nothing was placed."""
    UNKNOWN = 6
    """An order whose answer never came: the items asked for."""
    PRODUCTS = 7
    """A list of products: items are those whose stock or price is not what the list before it in
    the same worker's record told (a product that is left out has none). Number is twice how many
    products it had, and one more if those sold out were asked for."""
    ORDERS = 8
    """A list of own orders since the opening: number is the sum of the entries' digests. It has two
    items: the limit (stock; 0: none) with how many there were (quantity), and the position of the
    newest (stock)."""
    LISTED = 9
    """An order in a customer's final list, whose `asOf` is its own: number is the total."""
    FINAL = 10
    """A customer's final list as such, one a customer, read after the closing list of products:
    number is the position where it is complete down to."""
    OPENING = 11
    """Every product, also those sold out, before anything else was asked: as PRODUCTS."""
    CLOSING = 12
    """The same after everything that was answered to workers with other clocks."""


TOLD = (Kind.ACCEPTED, Kind.REPLAYED, Kind.LISTED)
"""Where an order is told in full: the first of these counts."""
LISTS = (Kind.PRODUCTS, Kind.OPENING, Kind.CLOSING)
"""Of products."""
Line = tuple[str, int, int]
"""Name, price in cents (UNKNOWN_PRICE where it is only asked for) and quantity."""


class Remark(msgspec.Struct, frozen=True):
    """A contradiction within one answer, seen when it was written down."""

    operation: int
    """Index into the block's operations."""
    text: str


class Block(msgspec.Struct, frozen=True):
    """What one worker has written."""

    worker: int
    clock: str
    """Times of blocks with the same clock can be compared: they are of one machine."""
    operations: bytes
    items: bytes
    users: list[str]
    lines: list[Line]
    large_stocks: list[int]
    odd_totals: list[tuple[int, int]]
    remarks: list[Remark]
    incomplete: list[str] = []
    """Why this is not everything, if it is not."""
    violations: list[str] = []
    """Answers to which no operation belongs, because they are none by the protocol."""


class BadHistory(Exception):
    """A file that holds no history: the message names it and says why."""


@dataclass(frozen=True)
class History:
    """A run, from the list of products before the first order to the order lists after the last."""

    operations: Array
    items: Array
    users: Sequence[str]
    lines: Sequence[Line]
    """None twice."""
    clocks: Sequence[str]
    """By worker."""
    large_stocks: Sequence[int] = ()
    """Stocks that do not fit into an item."""
    odd_totals: Sequence[tuple[int, int]] = ()
    """Operations of kind REPLAYED, and what each told as the total, if not the sum of its items."""
    remarks: Sequence[Remark] = ()
    alone: bool = False
    """Nobody else can have used the shop."""
    incomplete: Sequence[str] = ()
    """Why this is not the whole record, if it is not: one sentence each."""
    about: dict[str, Any] = field(default_factory=dict)
    """What else is known of the run, for people."""
    violations: Sequence[str] = ()
    """Answers that are none by the protocol, and no operation's: whose, to what, when and why."""

    def __len__(self) -> int:
        """Return the number of operations."""
        return len(self.operations)

    def save(self, path: Path) -> None:
        """Write it to a file (NumPy's .npz). Raises OSError."""
        about = {
            "format": FORMAT,
            "users": list(self.users),
            "lines": [list(line) for line in self.lines],
            "clocks": list(self.clocks),
            "large_stocks": list(self.large_stocks),
            "odd_totals": [list(odd) for odd in self.odd_totals],
            "remarks": [[remark.operation, remark.text] for remark in self.remarks],
            "alone": self.alone,
            "incomplete": list(self.incomplete),
            "about": self.about,
            "violations": list(self.violations),
        }
        described = np.frombuffer(json.dumps(about).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez_compressed(file, operations=self.operations, items=self.items, about=described)


def merge(
    blocks: Iterable[Block],
    *,
    alone: bool = False,
    incomplete: Sequence[str] = (),
    about: dict[str, Any] | None = None,
) -> History:
    """Return one history of what all workers have written."""
    tables = _Tables({}, {}, {})
    clocks: dict[int, str] = {}
    operations, items = [np.zeros(0, OPERATION)], [np.zeros(0, ITEM)]
    odd_totals: list[tuple[int, int]] = []
    remarks: list[Remark] = []
    reasons = list(incomplete)
    violations: list[str] = []
    for block in blocks:
        if block.worker in clocks:
            reasons.append(f"there are two records of worker {block.worker}: one is left out")
            continue
        clocks[block.worker] = block.clock
        count = sum(map(len, operations))
        odd_totals += [(count + operation, total) for operation, total in block.odd_totals]
        remarks += [Remark(count + remark.operation, remark.text) for remark in block.remarks]
        reasons += block.incomplete
        violations += block.violations
        rows, goods = _in_common(block, tables)
        operations.append(rows)
        items.append(goods)
    whole = np.concatenate(operations)
    workers = max([*clocks, int(whole["worker"].max(initial=0))]) + 1
    return History(
        whole,
        np.concatenate(items),
        list(tables.users),
        list(tables.lines),
        [clocks.get(number, "") for number in range(workers)],
        list(tables.large_stocks),
        odd_totals,
        remarks,
        alone,
        reasons,
        about or {},
        violations,
    )


class _Tables(NamedTuple):
    """What all blocks have in common, numbered."""

    users: dict[str, int]
    lines: dict[Line, int]
    large_stocks: dict[int, int]


def _in_common(block: Block, tables: _Tables) -> tuple[Array, Array]:
    """Return a block's operations and items with users and lines numbered as all are."""
    rows = np.frombuffer(block.operations, OPERATION).copy()
    rows["user"] = _renumbered(block.users, tables.users)[rows["user"]]
    goods = np.frombuffer(block.items, ITEM).copy()
    is_large = goods["line"] >= LARGE
    stocks = _renumbered(block.large_stocks, tables.large_stocks)
    goods["stock"][is_large] = stocks[goods["stock"][is_large]]
    lines = _renumbered([tuple(line) for line in block.lines], tables.lines)
    goods["line"] = lines[goods["line"] % LARGE] + is_large * np.uint32(LARGE)
    return rows, goods


def _renumbered(names: Iterable[Any], known: dict[Any, int]) -> Array:
    numbers = [known.setdefault(name, len(known)) for name in names]
    return np.array(numbers or [0], np.uint32)


_Index = Annotated[int, msgspec.Meta(ge=0)]
_Number = Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
_Quantity = Annotated[int, msgspec.Meta(ge=0, le=QUANTITY_MAX)]


class _About(msgspec.Struct):
    """What a file says beside its columns."""

    format: int
    users: Annotated[list[str], msgspec.Meta(max_length=USERS_MAX)]
    lines: list[tuple[str, _Number, _Quantity]]
    clocks: Annotated[list[str], msgspec.Meta(max_length=256)]
    large_stocks: list[_Number]
    odd_totals: list[tuple[_Index, Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]]]
    remarks: list[tuple[_Index, str]]
    alone: bool
    incomplete: list[str]
    about: dict[str, Any]
    violations: list[str] = []


def load(path: Path) -> History:
    """Read a file that `History.save` wrote. Raises BadHistory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of some headers that it mistrusts
            operations, items, about = _read(path)
        _check_about(about, operations)
        _check_columns(operations, items, about)
        _check_rows(operations, items, about)
    except OSError as problem:
        raise BadHistory(f"{path}: {problem.strerror or problem}") from None
    except Exception as problem:  # a damaged archive raises whatever its reader stumbles over
        reason = str(problem) or type(problem).__name__
        raise BadHistory(f"{path}: not a history, or a damaged one: {reason}") from None
    return History(
        operations,
        items,
        about.users,
        about.lines,
        about.clocks,
        about.large_stocks,
        about.odd_totals,
        [Remark(number, text) for number, text in about.remarks],
        about.alone,
        about.incomplete,
        about.about,
        about.violations,
    )


def _read(path: Path) -> tuple[Array, Array, _About]:
    if path.is_fifo():  # opening it would wait for somebody who writes
        raise ValueError("it is a pipe")
    with path.open("rb") as raw:  # NumPy leaves a file open that it can't read
        if raw.read(len(ZIP)) != ZIP:
            raise ValueError("no archive of columns (.npz)")
        raw.seek(0)
        file = np.load(raw, allow_pickle=False)
        operations, items, about = (
            _column(file, name) for name in ("operations", "items", "about")
        )
    found = msgspec.json.decode(about.tobytes(), type=_About)
    return operations, items, found


def _column(file: "np.lib.npyio.NpzFile", name: str) -> Array:
    if name not in file.files:
        raise ValueError(f"it has no {name}")
    column = np.asarray(file[name])
    expected = {"operations": OPERATION, "items": ITEM, "about": np.dtype("u1")}[name]
    if column.dtype != expected or column.ndim != 1:
        raise ValueError(f"its {name} are others: {column.ndim} dimensions of {column.dtype}")
    return column


def _check_about(about: _About, operations: Array) -> None:
    """See that the tables fit each other and the operations. Raises ValueError."""
    if about.format != FORMAT:
        raise ValueError(f"format {about.format}, this program reads format {FORMAT}")
    if any(number >= len(operations) for number, _ in about.remarks):
        raise ValueError("a remark on an operation that does not exist")
    if any(number >= len(operations) for number, _ in about.odd_totals):
        raise ValueError("a total of an operation that does not exist")
    if (operations["kind"][[number for number, _ in about.odd_totals]] != Kind.REPLAYED).any():
        raise ValueError("a total of an operation that is no repeat")
    if len(set(about.lines)) != len(about.lines):
        raise ValueError("a line twice")


def _check_columns(operations: Array, items: Array, about: _About) -> None:
    """See that every index points to something, and numbers are in range. Raises ValueError."""
    if int(operations["items"].sum(dtype=np.int64)) != len(items):
        raise ValueError("operations and items do not match")
    kind, number = operations["kind"], operations["number"]
    is_large = items["line"] >= LARGE
    limits = [
        ("user", operations["user"], 0, len(about.users) - 1),
        ("worker", operations["worker"], 0, len(about.clocks) - 1),
        ("kind", kind, 0, len(Kind) - 1),
        ("line", items["line"] % LARGE, 0, len(about.lines) - 1),
        ("stock", items["stock"][is_large], 0, len(about.large_stocks) - 1),
        ("place", operations["place"], 0, NUMBER_MAX),
        ("position", number[(kind == Kind.REPLAYED) | (kind == Kind.FINAL)], 0, NUMBER_MAX),
        ("length", number[np.isin(kind, LISTS)], 0, NUMBER_MAX),
        ("time", operations["sent"], -NUMBER_MAX, NUMBER_MAX),
    ]
    for name, column, low, high in limits:
        if len(column) and not low <= int(column.min()) <= int(column.max()) <= high:
            raise ValueError(f"a row with an impossible {name}")


def _check_rows(operations: Array, items: Array, about: _About) -> None:
    """See that each operation has the items of its kind, and is there once. Raises ValueError."""
    kind, counts = operations["kind"], operations["items"].astype(np.int64)
    least, most = np.zeros(len(Kind), np.int64), np.full(len(Kind), NUMBER_MAX)
    least[[Kind.SOLD_OUT, Kind.NOT_FOUND]] = 1
    least[Kind.ORDERS] = most[Kind.ORDERS] = 2
    if (counts < least[kind]).any() or (counts > most[kind]).any():
        raise ValueError("an operation without its items")
    firsts = (np.cumsum(counts) - counts)[kind == Kind.ORDERS]
    if (stocks_of(items[np.concatenate([firsts, firsts + 1])], about.large_stocks) < 0).any():
        raise ValueError("a list with a limit or a position below 0")
    finals = operations["user"][kind == Kind.FINAL]
    once = [(kind == Kind.OPENING).sum(), (kind == Kind.CLOSING).sum()]
    if max(once) > 1 or len(np.unique(finals)) != len(finals):
        raise ValueError("a list twice that can be there only once")
    if not np.isin(operations["user"][kind == Kind.LISTED], finals).all():
        raise ValueError("an entry of a list that is not there")


def stocks_of(items: Array, large_stocks: Sequence[int]) -> Array:
    """Return the stocks of items, the large ones too."""
    stock = items["stock"].astype(np.int64)
    is_large = items["line"] >= LARGE
    stock[is_large] = np.array(large_stocks or [0], np.int64)[stock[is_large]]
    return np.asarray(stock)
