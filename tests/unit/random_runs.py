"""Random runs: small concurrent histories for Hypothesis, made by the shop's own rule.

Everything happens at a moment between its request and its answer; what happens is what
`sportshop.orders.decide` says. An answer may be lost, and then the moment may be late or never.
`mutated` then plants what may be a fault.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from sportshop.audit import Goods, Kind, Told
from sportshop.audit.history import FOREIGN_KEY, NO_KEY
from sportshop.orders import (
    Accepted,
    InsufficientStock,
    Item,
    Order,
    OrderKeyReused,
    ProductNotFound,
    Receipt,
    decide,
)
from sportshop.products import Product
from sportshop.users import User
from tests.unit.histories import LISTS, Entry, Op, Wanted

USERS = {"ann": User(1, "ann", ""), "bob": User(2, "bob", ""), "eve": User(3, "eve", "")}
NAMES = ("Ball", "Shoe")
PRICES = {"Ball": 990, "Shoe": 1250}
UNTIL = 20  # when the last request is sent
CLOSED, READ = 30, 40  # when the final lists are read, unless that overlaps


@dataclass
class Plan:
    """What a customer is about to do, and when it will happen."""

    what: str
    user: str
    worker: int
    key: int
    wanted: Wanted
    sent: int
    moment: int
    answered: int | None
    sold_out: bool = True
    limit: int = 0


@dataclass
class RandomRun:
    """A history's operations, and what else is known."""

    ops: list[Op]
    clocks: dict[int, str]
    alone: bool


class Shop:
    """What `decide` says, one order after another."""

    def __init__(self, first: int, stock: dict[str, int]) -> None:
        self.taken = self.first = first
        self.stock = dict(stock)
        self.receipts: list[Receipt] = []

    def order(self, plan: Plan) -> Any:
        key = None if plan.key == NO_KEY else f"{plan.worker}-{plan.key}"
        items = tuple(Item(*wanted) for wanted in plan.wanted)
        products = {name: Product(name, PRICES[name], left) for name, left in self.stock.items()}
        earlier = {(one.user.id, one.key): one for one in self.receipts if one.key is not None}
        order = Order(USERS[plan.user], items, key)
        decided = decide([order], products, earlier, self.taken, 0)
        self.receipts += decided.receipts
        self.taken += len(decided.receipts)
        self.stock |= decided.stock
        return decided.outcomes[0]

    def listed(self, user: str) -> tuple[Entry, ...]:
        own = [one for one in reversed(self.receipts) if one.user.name == user]
        return tuple(Entry(*_key(one), as_told(one)) for one in own)


def _key(receipt: Receipt) -> tuple[int, int]:
    if receipt.key is None:
        return 0, NO_KEY
    worker, key = receipt.key.split("-")
    return int(worker), int(key)


def as_told(receipt: Receipt) -> Told:
    items = (Goods(i.product_name, i.quantity, i.price, i.stock) for i in receipt.items)
    return Told(receipt.position, tuple(items), receipt.total)


def happen(shop: Shop, plan: Plan) -> Op:
    """Let it happen; return what the customer sees of it."""
    op = Op(Kind.NOT_DONE, plan.user, plan.sent, plan.answered, shop.taken, plan.worker)
    if plan.what == "products":
        left = {n: (PRICES[n], s) for n, s in shop.stock.items() if s or plan.sold_out}
        return replace(op, kind=Kind.PRODUCTS, shelf=left, sold_out=plan.sold_out)
    if plan.what == "orders":
        entries = shop.listed(plan.user)
        limited = entries[: plan.limit] if plan.limit else entries
        return replace(op, kind=Kind.ORDERS, limit=plan.limit, entries=limited)
    op = replace(op, key=plan.key, wanted=plan.wanted)
    if plan.what in {"busy", "lost on the way"}:
        return replace(op, kind=Kind.NOT_DONE if plan.what == "busy" else Kind.UNKNOWN)
    return _ordered(op, shop.order(plan))


def _ordered(op: Op, outcome: Any) -> Op:
    if op.answered is None:
        return replace(op, kind=Kind.UNKNOWN, as_of=0)
    if isinstance(outcome, Accepted):
        kind = Kind.REPLAYED if outcome.replayed else Kind.ACCEPTED
        return replace(op, kind=kind, told=as_told(outcome.receipt), as_of=outcome.as_of)
    if isinstance(outcome, OrderKeyReused):
        return replace(op, kind=Kind.KEY_REUSED, as_of=0)
    if isinstance(outcome, ProductNotFound):
        return replace(op, kind=Kind.NOT_FOUND, named=Goods(outcome.product_name, 0, 0, 0))
    assert isinstance(outcome, InsufficientStock)
    named = Goods(outcome.product_name, outcome.requested, 0, outcome.available)
    return replace(op, kind=Kind.SOLD_OUT, named=named)


@st.composite
def plans(draw: st.DrawFn, most: int, alone: bool) -> list[Plan]:
    """Return what customers do, in the order in which they think of it."""
    found: list[Plan] = []
    for number in range(1, draw(st.integers(0, most)) + 1):
        user = draw(st.sampled_from(["ann", "bob"] if alone else ["ann", "bob", "eve", "eve"]))
        worker = draw(st.integers(0, 1))
        what = draw(
            st.sampled_from(["order"] * 5 + ["products", "orders", "lost on the way", "busy"])
        )
        key = number
        names = st.sampled_from(["Ball", "Ball", "Ball", "Shoe", "Hat"])
        wanted = tuple(draw(st.lists(st.tuples(names, st.integers(1, 2)), min_size=1, max_size=2)))
        before = [one for one in found if one.key and one.user == user != "eve"]
        if before and draw(st.booleans()):  # again, with the same key
            first = draw(st.sampled_from(before))
            worker, key = first.worker, first.key
            wanted = draw(st.sampled_from([first.wanted, first.wanted, first.wanted[::-1], wanted]))
        elif draw(st.integers(0, 9)) == 0:
            key = NO_KEY
        sent = draw(st.integers(0, UNTIL))
        moment = sent + draw(st.integers(0, 4))
        answered: int | None = moment + draw(st.integers(0, 4))
        if what == "lost on the way" or (what == "order" and draw(st.integers(0, 3)) == 0):
            answered = None
            moment = sent + draw(st.integers(0, READ))
        plan = Plan(what, user, worker, key, wanted, sent, moment, answered)
        plan.sold_out = draw(st.booleans())
        plan.limit = draw(st.integers(0, 2))
        found.append(plan)
    return found


@st.composite
def correct_runs(draw: st.DrawFn, alone: bool, most: int = 7) -> RandomRun:
    """Return a run that a correct shop made. Others are eve, whom nobody hears."""
    stock = {name: draw(st.integers(0, 4)) for name in NAMES}
    shop = Shop(draw(st.integers(0, 2)), stock)
    shelf = {name: (PRICES[name], left) for name, left in stock.items()}
    ops = [Op(Kind.OPENING, "auditor", -10, -5, shop.taken, shelf=shelf)]
    left = sorted(draw(plans(most, alone)), key=lambda plan: plan.moment)
    closed = draw(st.sampled_from([CLOSED, UNTIL, UNTIL + 2]))
    seen: list[Op] = []
    lists: list[Op] = []
    for when, who in ((closed, "auditor"), (READ, "ann"), (READ + 2, "bob")):
        while left and left[0].moment <= when:
            seen += _heard(happen(shop, left.pop(0)))
        final = Op(Kind.FINAL, who, when - 1, when, shop.taken, entries=shop.listed(who))
        if who == "auditor":
            shelf = {name: (PRICES[name], many) for name, many in shop.stock.items()}
            final = replace(final, kind=Kind.CLOSING, shelf=shelf, entries=())
        lists.append(final)
    seen += [op for plan in left for op in _heard(happen(shop, plan)) if op.kind == Kind.UNKNOWN]
    seen.sort(key=lambda op: op.sent if op.answered is None else op.answered)
    same_clock = closed != CLOSED or draw(st.booleans())
    clocks = {0: "clock" if same_clock else "another", 1: "clock", 255: "clock"}
    return RandomRun([*ops, *seen, *lists], clocks, alone)


def _heard(op: Op) -> list[Op]:
    return [] if op.user == "eve" else [op]


# Mutations: what may be a fault.

Draw = Callable[[st.SearchStrategy[Any]], Any]
little = st.sampled_from([-2, -1, -1, 1, 1, 2])


def mutated(draw: Draw, run: RandomRun) -> RandomRun:
    """Return the run with something changed."""
    change = draw(st.sampled_from([*CHANGES]))
    ops = list(run.ops)
    at = draw(st.integers(0, len(ops) - 1))
    return RandomRun(change(draw, ops, at), run.clocks, run.alone)


def _drop(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    keep = ops[at].kind in LISTS
    return ops if keep else ops[:at] + ops[at + 1 :]


def _double(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    keep = ops[at].kind in LISTS
    later = replace(ops[at], sent=ops[at].sent + draw(st.integers(0, 3)))
    if later.answered is not None:
        later = replace(later, answered=max(later.sent, later.answered))
    return ops if keep else [*ops[: at + 1], later, *ops[at + 1 :]]


def _move(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    if ops[at].kind == Kind.OPENING:
        return ops
    by = draw(st.integers(-12, 12))
    answered = ops[at].answered
    moved = replace(
        ops[at], sent=ops[at].sent + by, answered=None if answered is None else answered + by
    )
    return _with(ops, at, moved)


def _shorten(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    if ops[at].kind == Kind.OPENING or ops[at].answered is None:
        return ops
    moment = draw(st.integers(ops[at].sent, ops[at].answered))
    return _with(ops, at, replace(ops[at], sent=moment, answered=moment))


def _as_of(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    return _with(ops, at, replace(ops[at], as_of=max(0, ops[at].as_of + draw(little))))


def _whose(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    if ops[at].kind in LISTS:
        return ops
    other = {"ann": "bob", "bob": "ann"}[ops[at].user]
    return _with(ops, at, replace(ops[at], user=other))


def _kind(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    swaps = {
        Kind.ACCEPTED: [Kind.REPLAYED],
        Kind.REPLAYED: [Kind.ACCEPTED],
        Kind.KEY_REUSED: [Kind.UNKNOWN, Kind.NOT_DONE],
        Kind.UNKNOWN: [Kind.NOT_DONE, Kind.KEY_REUSED],
        Kind.NOT_DONE: [Kind.UNKNOWN, Kind.KEY_REUSED],
    }
    if ops[at].kind not in swaps:
        return ops
    kind = draw(st.sampled_from(swaps[ops[at].kind]))
    answered = ops[at].answered
    if kind == Kind.UNKNOWN:
        answered = None
    elif answered is None:
        answered = ops[at].sent + draw(st.integers(0, 5))
    return _with(ops, at, replace(ops[at], kind=kind, answered=answered))


def _key_of(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    if ops[at].kind > Kind.UNKNOWN:
        return ops
    return _with(ops, at, replace(ops[at], key=draw(st.integers(0, 4))))


def _same_key(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    """Give all that bears one key another key that the customer used, wherever it is told."""
    used = sorted({(op.user, op.worker, op.key) for op in ops if op.key != NO_KEY})
    pairs = [(one, two) for one in used for two in used if one != two and one[0] == two[0]]
    if not pairs:
        return ops
    (user, *old), (_, worker, key) = draw(st.sampled_from(pairs))
    return [
        replace(
            op,
            worker=worker if op.key and (op.user, op.worker, op.key) == (user, *old) else op.worker,
            key=key if (op.user, op.worker, op.key) == (user, *old) else op.key,
            entries=tuple(
                Entry(worker, key, e.told)
                if (op.user, e.worker, e.key) == (user, *old) and e.key
                else e
                for e in op.entries
            ),
        )
        for op in ops
    ]


def _wanted_of(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    if not ops[at].wanted:
        return ops
    (name, quantity), *others = ops[at].wanted
    changed = draw(st.sampled_from([(name, quantity + 1), ("Shoe", quantity), ("Hat", quantity)]))
    return _with(ops, at, replace(ops[at], wanted=(changed, *others)))


def _named(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    named = ops[at].named
    if named is None:
        return ops
    changes = [named._replace(stock=named.stock + draw(little)), named._replace(name="Shoe")]
    if ops[at].kind == Kind.SOLD_OUT:
        changes.append(named._replace(quantity=named.quantity + 1))
    return _with(ops, at, replace(ops[at], named=draw(st.sampled_from(changes))))


def _shelf_of(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    with_shelf = [n for n, op in enumerate(ops) if op.shelf and op.kind != Kind.OPENING]
    if not with_shelf:
        return ops
    at = draw(st.sampled_from(with_shelf))
    shelf = dict(ops[at].shelf or {})
    name = draw(st.sampled_from(sorted(shelf)))
    price, left = shelf.pop(name)
    after = draw(
        st.sampled_from([None, (price, left + draw(little)), (price + 1, left), (price, 0)])
    )
    if after is not None:
        shelf[name] = after
    elif draw(st.booleans()):
        shelf["Hat"] = (5, 1)
    return _with(ops, at, replace(ops[at], shelf=shelf))


def _entries(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    lists = [n for n, op in enumerate(ops) if op.kind in {Kind.FINAL, Kind.ORDERS}]
    at = draw(st.sampled_from(lists))
    everybody = [entry for n in lists for entry in ops[n].entries]
    if not everybody:
        return ops
    entries = list(ops[at].entries)
    one = draw(st.sampled_from(everybody))
    what = draw(st.sampled_from(["drop", "add", "foreign", "swap"]))
    if what == "drop":
        entries = [entry for entry in entries if entry != one]
    elif what == "add":
        entries.insert(0, one)
    elif what == "foreign":
        key = draw(st.sampled_from([FOREIGN_KEY, NO_KEY]))
        entries = [replace(e, worker=0, key=key) if e == one else e for e in entries]
    else:
        entries.reverse()
    return _with(ops, at, replace(ops[at], entries=tuple(entries)))


def _told_here(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    told = ops[at].told
    return ops if told is None else _with(ops, at, replace(ops[at], told=_retold(draw, told)))


def _told_in_list(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    lists = [number for number, op in enumerate(ops) if op.entries]
    if not lists:
        return ops
    at = draw(st.sampled_from(lists))
    first = draw(st.sampled_from(ops[at].entries))
    changed = {first: replace(first, told=_retold(draw, first.told))}
    entries = tuple(changed.get(entry, entry) for entry in ops[at].entries)
    return _with(ops, at, replace(ops[at], entries=entries))


def _told_everywhere(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    """Change an order in its receipt, its repeats and all lists: the lie is consistent."""
    everything = [op.told for op in ops if op.told] + [e.told for op in ops for e in op.entries]
    if not everything:
        return ops
    before = draw(st.sampled_from(everything))
    after = _retold(draw, before)
    return [_replaced(op, {before: after}) for op in ops]


def _swap_positions(draw: Draw, ops: list[Op], at: int) -> list[Op]:
    """Give two orders each other's position, wherever they are told."""
    everything = sorted(
        {e.told for op in ops for e in op.entries} | {op.told for op in ops if op.told}
    )
    if len(everything) < 2:
        return ops
    one, two = draw(st.lists(st.sampled_from(everything), min_size=2, max_size=2, unique=True))
    swapped = {
        one: one._replace(position=two.position),
        two: two._replace(position=one.position),
    }
    return [_replaced(op, swapped) for op in ops]


def _replaced(op: Op, after: dict[Told, Told]) -> Op:
    told = after.get(op.told, op.told) if op.told else None
    as_of = op.as_of
    if op.kind == Kind.ACCEPTED and told and op.told and op.as_of == op.told.position:
        as_of = told.position
    entries = [replace(one, told=after.get(one.told, one.told)) for one in op.entries]
    if op.kind == Kind.ORDERS:
        entries.sort(key=lambda entry: -entry.told.position)
    return replace(op, told=told, as_of=as_of, entries=tuple(entries))


def _retold(draw: Draw, told: Told) -> Told:
    first, *others = told.items
    what = draw(
        st.sampled_from(["position", "total", "stock", "price", "quantity", "name", "split"])
    )
    if what == "position":
        return told._replace(position=max(1, told.position + draw(little)))
    if what == "total":
        return told._replace(total=told.total + 1)
    changed = {
        "stock": [first._replace(stock=first.stock + draw(little))],
        "price": [first._replace(price=first.price + 1)],
        "quantity": [first._replace(quantity=first.quantity + 1)],
        "name": [first._replace(name="Shoe")],
        "split": [first, first._replace(quantity=0)],
    }[what]
    items = (*changed, *others)
    return Told(told.position, items, sum(one.price * one.quantity for one in items))


def _with(ops: list[Op], at: int, op: Op) -> list[Op]:
    return [*ops[:at], op, *ops[at + 1 :]]


CHANGES = (
    _drop,
    _double,
    _move,
    _shorten,
    _as_of,
    _whose,
    _kind,
    _key_of,
    _same_key,
    _same_key,
    _wanted_of,
    _named,
    _shelf_of,
    _entries,
    _told_here,
    _told_in_list,
    _told_everywhere,
    _told_everywhere,
    _swap_positions,
)
