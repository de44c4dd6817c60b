"""Search: is there any order of events that explains a history? By trying all of them.

The shop is a pure model, a state and a step, written from the protocol and independent of the
shop's own rule and of the audit. Exponential, so only for histories of a few operations.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from sportshop.audit import Goods, Kind, Told
from sportshop.audit.history import FOREIGN_KEY, NO_KEY
from tests.unit.histories import AUDITOR, LISTS, RECEIPTS, Entry, Op, Shelf, Wanted

BY_WORKERS = frozenset(Kind) - {*LISTS, Kind.LISTED}


class Sold(NamedTuple):
    """An entry of the ledger."""

    user: str
    worker: int
    key: int
    told: Told


class State(NamedTuple):
    """All that a shop is: its ledger since the opening, and what is left."""

    first: int
    ledger: tuple[Sold, ...]
    left: tuple[tuple[str, int], ...]

    @property
    def taken(self) -> int:
        return self.first + len(self.ledger)


class Answer(NamedTuple):
    """What a shop says to an order."""

    kind: Kind
    as_of: int = 0
    told: Told | None = None
    named: tuple[str, int, int] | None = None


def place(state: State, op: Op, prices: Mapping[str, int]) -> tuple[State, Answer]:
    """Return the state after an order, and the answer."""
    wanted: dict[str, int] = {}
    for name, quantity in op.wanted:
        wanted[name] = wanted.get(name, 0) + quantity
    for sold in state.ledger:
        if op.key not in {NO_KEY, FOREIGN_KEY} and sold[:3] == (op.user, op.worker, op.key):
            if _sums(sold.told.items) == wanted:
                return state, Answer(Kind.REPLAYED, state.taken, sold.told)
            return state, Answer(Kind.KEY_REUSED)
    left = dict(state.left)
    for name in wanted:
        if name not in left:
            return state, Answer(Kind.NOT_FOUND, state.taken, None, (name, 0, 0))
    for name, quantity in wanted.items():
        if left[name] < quantity:
            named = (name, quantity, left[name])
            return state, Answer(Kind.SOLD_OUT, state.taken, None, named)
    for name, quantity in wanted.items():
        left[name] -= quantity
    items = tuple(Goods(name, many, prices[name], left[name]) for name, many in op.wanted)
    told = Told(state.taken + 1, items, sum(one.price * one.quantity for one in items))
    sold = Sold(op.user, op.worker, op.key, told)
    after = State(state.first, (*state.ledger, sold), tuple(left.items()))
    return after, Answer(Kind.ACCEPTED, told.position, told)


def _sums(items: Sequence[Goods]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for item in items:
        sums[item.name] = sums.get(item.name, 0) + item.quantity
    return sums


def shows(state: State, op: Op, prices: Mapping[str, int]) -> bool:
    """Tell whether this is what a read shows now."""
    if op.as_of != state.taken:
        return False
    if op.shelf is not None:
        whole = op.sold_out or op.kind == Kind.CLOSING
        expected = {name: (prices[name], many) for name, many in state.left if many or whole}
        return dict(op.shelf) == expected
    own = [sold for sold in reversed(state.ledger) if sold.user == op.user]
    listed = [entry for entry in op.entries if entry.told.position > state.first]
    if op.kind == Kind.ORDERS:
        own = own[: op.limit] if op.limit else own
        return [sold.told for sold in own] == [entry.told for entry in listed]
    told = [
        Sold(op.user, entry.worker if entry.key else 0, entry.key, entry.told) for entry in listed
    ]
    known = [sold if sold.key else sold._replace(worker=0) for sold in own]
    return sorted(known) == sorted(told)


def _agrees(op: Op, answer: Answer) -> bool:
    """Tell whether an order was answered so."""
    if op.kind != answer.kind:
        return False
    if op.kind == Kind.KEY_REUSED:
        return True
    if op.as_of != answer.as_of:
        return False
    if op.kind in RECEIPTS:
        return op.told == answer.told
    assert op.named is not None
    assert answer.named is not None
    named = (op.named.name, op.named.quantity, op.named.stock)
    return named == answer.named if op.kind == Kind.SOLD_OUT else named[0] == answer.named[0]


def _precedes(one: Op, other: Op, clocks: Mapping[int, str]) -> bool:
    """Tell whether it is known that one had been answered when the other was sent."""
    if one.answered is None:
        return False
    mine, theirs = (
        clocks.get(AUDITOR if op.kind in LISTS else op.worker, "clock") for op in (one, other)
    )
    if mine == theirs:
        return one.answered < other.sent
    return other.kind in LISTS and one.kind in BY_WORKERS


def explained(ops: Sequence[Op], clocks: Mapping[int, str], alone: bool) -> bool:
    """Tell whether any order of events explains every answer."""
    (opening,) = (op for op in ops if op.kind == Kind.OPENING)
    assert opening.shelf is not None
    if any(left < 0 for _, left in opening.shelf.values()):
        return False
    rest = [op for op in ops if op.kind not in {Kind.OPENING, Kind.NOT_DONE}]
    before = [
        sum(1 << at for at, one in enumerate(rest) if _precedes(one, other, clocks))
        for other in rest
    ]
    left = tuple((name, left) for name, (_, left) in opening.shelf.items())
    return _Search(rest, before, opening.shelf, alone).finds(State(opening.as_of, (), left))


class _Search:
    """Depth first: what is next? A state that led nowhere is not tried again."""

    def __init__(self, ops: Sequence[Op], before: Sequence[int], shelf: Shelf, alone: bool) -> None:
        self._ops = ops
        self._before = before
        self._prices = {name: price for name, (price, _) in shelf.items()}
        self._alone = alone
        self._answered = sum(1 << at for at, op in enumerate(ops) if op.kind != Kind.UNKNOWN)
        positions = [op.as_of for op in ops]
        positions += [entry.told.position for op in ops for entry in op.entries]
        self._end = max(positions, default=0)

    def finds(self, state: State) -> bool:
        stack, seen = [(0, state)], {(0, state)}
        while stack:
            done, state = stack.pop()
            if done & self._answered == self._answered:
                return True
            for step in self._steps(done, state):
                if step not in seen:
                    seen.add(step)
                    stack.append(step)
        return False

    def _steps(self, done: int, state: State) -> Iterator[tuple[int, State]]:
        for at, op in enumerate(self._ops):
            if done >> at & 1 or self._before[at] & ~done:
                continue
            if op.kind <= Kind.UNKNOWN:
                after, answer = place(state, op, self._prices)
                if op.kind == Kind.UNKNOWN or _agrees(op, answer):
                    yield done | 1 << at, after
            elif shows(state, op, self._prices):
                yield done | 1 << at, state
        if not self._alone and state.taken < self._end:
            for after in self._foreign(state):
                yield done, after

    def _foreign(self, state: State) -> Iterator[State]:
        """Let somebody else buy: anything, or in our name what our lists tell."""
        position = state.taken + 1
        for taken in product(*(range(left + 1) for _, left in state.left)):
            if any(taken):
                left = tuple(
                    (name, many - less)
                    for (name, many), less in zip(state.left, taken, strict=True)
                )
                somebody = Sold("somebody else", 0, FOREIGN_KEY, Told(position, (), 0))
                yield State(state.first, (*state.ledger, somebody), left)
        for op in self._ops:
            for entry in op.entries:
                if entry.told.position == position and entry.key in {NO_KEY, FOREIGN_KEY}:
                    yield from self._in_our_name(state, op.user, entry)

    def _in_our_name(self, state: State, user: str, entry: Entry) -> Iterator[State]:
        wanted: Wanted = tuple((item.name, item.quantity) for item in entry.told.items)
        op = Op(Kind.ACCEPTED, user, 0, 0, 0, entry.worker, entry.key, wanted)
        after, answer = place(state, op, self._prices)
        if answer.told == entry.told:
            yield after
