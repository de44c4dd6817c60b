"""Histories for tests: operations as values, written down by the real Recorder.

`Op` is what a customer knows of one request; `record` makes the history of a run out of them.
`Run` writes a run down by hand, one operation after the other, a millisecond each.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from sportshop.audit import (
    Goods,
    History,
    Kind,
    Outcome,
    Recorder,
    Told,
    Verdict,
    When,
    audit,
    entry_digest,
    merge,
    worst,
)
from sportshop.audit.history import FOREIGN_KEY, NO_KEY

AUDITOR = 255
ANN, BOB = "ann", "bob"
PRICE = 14990
US = 1_000
EPOCH_US = 1_000_000  # so that no time is 0, which would be never
MS = 1_000  # µs
LISTS = (Kind.OPENING, Kind.CLOSING, Kind.FINAL)
RECEIPTS = (Kind.ACCEPTED, Kind.REPLAYED)
Wanted = tuple[tuple[str, int], ...]
Shelf = Mapping[str, tuple[int, int]]
"""Price and stock by name."""


@dataclass(frozen=True)
class Entry:
    """An order in a list: whose key it bears, and what is told."""

    worker: int
    key: int
    told: Told


@dataclass(frozen=True)
class Op:
    """A request and its answer. Times in µs; `answered` None: never."""

    kind: Kind
    user: str
    sent: int
    answered: int | None
    as_of: int = 0
    worker: int = 0
    key: int = NO_KEY
    wanted: Wanted = ()
    told: Told | None = None
    named: Goods | None = None
    """What a refusal is about: requested (quantity) and available (stock)."""
    shelf: Shelf | None = None
    sold_out: bool = True
    limit: int = 0
    entries: tuple[Entry, ...] = ()


def goods(name: str, quantity: int, left: int, price: int = PRICE) -> Goods:
    return Goods(name, quantity, price, left)


def told(position: int, *items: Goods) -> Told:
    return Told(position, items, sum(item.price * item.quantity for item in items))


def record(
    ops: Iterable[Op],
    clocks: Mapping[int, str] | None = None,
    alone: bool = True,
    incomplete: Sequence[str] = (),
) -> History:
    """Return the history of these operations; a worker without a clock has that of the auditor."""
    recorders: dict[int, Recorder] = {}
    ops = list(ops)
    floor = max((op.as_of for op in ops if op.kind == Kind.OPENING), default=0)
    for op in ops:
        worker = AUDITOR if op.kind in LISTS else op.worker
        if worker not in recorders:
            recorders[worker] = Recorder(worker, (clocks or {}).get(worker, "clock"))
        write(recorders[worker], op, floor)
    blocks = [recorder.block() for recorder in recorders.values()]
    return merge(blocks, alone=alone, incomplete=incomplete)


def write(recorder: Recorder, op: Op, floor: int) -> None:
    answered = 0 if op.answered is None else (op.answered + EPOCH_US) * US
    when = When(recorder.user(op.user), (op.sent + EPOCH_US) * US, answered)
    if op.kind in RECEIPTS:
        assert op.told is not None
        replayed = op.kind == Kind.REPLAYED
        recorder.receipt(when, op.key, op.wanted, op.told, op.as_of, replayed)
    elif op.shelf is not None:
        recorder.products(when, op.as_of, op.shelf, op.kind, op.sold_out)
    elif op.kind == Kind.ORDERS:
        new = [entry.told for entry in op.entries if entry.told.position > floor]
        positions = [one.position for one in new]
        if any(one <= two for one, two in pairwise(positions)):
            recorder.remark("is not newest first, each once")
        newest = positions[0] if positions else 0
        recorder.orders(when, op.as_of, op.limit, newest, [entry_digest(one) for one in new])
    elif op.kind == Kind.FINAL:
        entries = [(one.worker, one.key, one.told) for one in op.entries]
        recorder.final_list(
            when, op.as_of, floor, [one for one in entries if one[2].position > floor]
        )
    else:
        recorder.refused(op.kind, when, op.key, op.wanted, op.as_of, op.named)


@dataclass
class Run:
    """A run written down by hand: it believes what it is told. `ops` may be changed."""

    first: int = 7
    alone: bool = True
    clocks: dict[int, str] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    _now_us: int = 0
    _keys: int = 0
    _ledger: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    def history(self) -> History:
        return record(self.ops, self.clocks, self.alone, self.incomplete)

    def add(self, kind: Kind, user: str, **more: object) -> Op:
        """Write an operation down, sent a millisecond after the one before it."""
        times = {"sent": self._now_us, "answered": self._now_us + MS // 2}
        self._now_us += MS
        op = Op(kind, user, **{**times, **more})
        self.ops.append(op)
        return op

    def key(self) -> int:
        self._keys += 1
        return self._keys

    def opens(self, **stock: int) -> None:
        self.add(Kind.OPENING, "auditor", as_of=self.first, shelf=shelf(**stock))

    def buys(self, user: str, position: int, *items: Goods, **more: object) -> Op:
        """Write down an order and its receipt; its key may be given."""
        sold = told(position, *items)
        key = int(more.pop("key", 0) or self.key())  # type: ignore[call-overload]
        given: dict[str, object] = {"as_of": position, **more}
        op = self.add(Kind.ACCEPTED, user, key=key, wanted=names(*items), told=sold, **given)
        self._ledger[user].insert(0, Entry(op.worker, op.key, sold))
        return op

    def loses(self, user: str, position: int, *items: Goods, **more: object) -> Op:
        """Write down an order that was sold, and whose answer never came."""
        key = int(more.pop("key", 0) or self.key())  # type: ignore[call-overload]
        given: dict[str, object] = {"answered": None, **more}
        op = self.add(Kind.UNKNOWN, user, key=key, wanted=names(*items), **given)
        self._ledger[user].insert(0, Entry(op.worker, op.key, told(position, *items)))
        return op

    def repeats(self, op: Op, as_of: int, sold: Told | None = None) -> Op:
        return self.add(
            Kind.REPLAYED,
            op.user,
            key=op.key,
            wanted=op.wanted,
            told=sold or op.told,
            as_of=as_of,
            worker=op.worker,
        )

    def refuses(self, user: str, as_of: int, wanted: Wanted, named: Goods, **more: object) -> Op:
        given: dict[str, object] = {"key": self.key(), **more}
        return self.add(Kind.SOLD_OUT, user, as_of=as_of, wanted=wanted, named=named, **given)

    def looks(self, user: str, as_of: int, *, sold_out: bool = True, **stock: int) -> Op:
        return self.add(Kind.PRODUCTS, user, as_of=as_of, shelf=shelf(**stock), sold_out=sold_out)

    def lists(self, user: str, as_of: int, limit: int = 10) -> Op:
        """Write down a list of the customer's newest orders."""
        entries = tuple(self._ledger[user][:limit])
        return self.add(Kind.ORDERS, user, as_of=as_of, limit=limit, entries=entries)

    def closes(self, as_of: int, **stock: int) -> None:
        """Write down the final lists: of products, and of everybody's orders."""
        self.add(Kind.CLOSING, "auditor", as_of=as_of, shelf=shelf(**stock))
        for user in sorted({op.user for op in self.ops} - {"auditor"}):
            self.add(Kind.FINAL, user, as_of=as_of, entries=tuple(self._ledger[user]))

    def final(self, user: str) -> tuple[Entry, ...]:
        """Return the entries of a customer's final list."""
        return self.ops[self.find(Kind.FINAL, user)].entries

    def find(self, kind: Kind, user: str = "", number: int = 0) -> int:
        """Return where the operation is."""
        found = [at for at, op in enumerate(self.ops) if op.kind == kind]
        return [at for at in found if not user or self.ops[at].user == user][number]

    def change(self, which: Kind, of: str = "", number: int = 0, /, **changes: object) -> None:
        """Change one operation."""
        at = self.find(which, of, number)
        self.ops[at] = replace(self.ops[at], **changes)

    def change_told(self, position: int, change: Callable[[Told], Told]) -> None:
        """Change what is told of an order, wherever it is told."""
        self.ops = [_retold(op, position, change) for op in self.ops]


def _retold(op: Op, position: int, change: Callable[[Told], Told]) -> Op:
    if op.told is not None and op.told.position == position:
        after = change(op.told)
        new = op.kind == Kind.ACCEPTED and op.as_of == position
        op = replace(op, told=after, as_of=after.position if new else op.as_of)
    entries = tuple(
        replace(one, told=change(one.told)) if one.told.position == position else one
        for one in op.entries
    )
    return replace(op, entries=entries)


def shelf(**stock: int) -> dict[str, tuple[int, int]]:
    return {name: (PRICE, left) for name, left in stock.items()}


def names(*items: Goods) -> Wanted:
    return tuple((item.name, item.quantity) for item in items)


def foreign(sold: Told) -> Entry:
    """Return a list's entry of an order that this run did not place."""
    return Entry(0, FOREIGN_KEY, sold)


def correct_run() -> Run:
    """Three balls of five and two shoes of four, by two customers, with all that can happen."""
    run = Run(first=7)
    run.opens(Ball=5, Shoe=4)
    first = run.buys(ANN, 8, goods("Ball", 1, 4))
    run.buys(BOB, 9, goods("Ball", 1, 3), goods("Shoe", 1, 3))
    run.looks(BOB, 9, Ball=3, Shoe=3)
    run.repeats(first, 9)
    run.refuses(BOB, 9, (("Shoe", 1), ("Ball", 4)), goods("Ball", 4, 3))
    run.add(Kind.NOT_FOUND, BOB, as_of=9, wanted=(("Hat", 1),), named=goods("Hat", 0, 0), key=90)
    run.add(Kind.KEY_REUSED, ANN, key=first.key, wanted=(("Ball", 2),))
    lost = run.loses(ANN, 10, goods("Ball", 1, 2), goods("Shoe", 1, 2))
    run.add(Kind.NOT_DONE, ANN, key=lost.key, wanted=lost.wanted)
    run.looks(ANN, 10, Ball=2, Shoe=2)
    run.lists(ANN, 10)
    run.closes(10, Ball=2, Shoe=2)
    return run


def judged(run: Run) -> dict[str, Verdict]:
    return {verdict.rule: verdict for verdict in audit(run.history())}


def failed(run: Run) -> list[str]:
    return [rule for rule, verdict in judged(run).items() if verdict.outcome is Outcome.FAIL]


def outcome(run: Run) -> Outcome:
    return worst(audit(run.history()))
