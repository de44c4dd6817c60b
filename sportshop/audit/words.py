"""Words: operations in plain words, for the few that are evidence. Knows no rule."""

import numpy as np

from sportshop.audit.books import REFUSALS, Books
from sportshop.audit.columns import NEVER
from sportshop.audit.history import TOLD, Kind
from sportshop.products import format_cents

NAMES = {
    Kind.SOLD_OUT: "the refusal of {goods} to {user}",
    Kind.NOT_FOUND: "the refusal of {goods} to {user}",
    Kind.PRODUCTS: "the product list of {user}",
    Kind.ORDERS: "the order list of {user}",
    Kind.FINAL: "the final order list of {user}",
    Kind.OPENING: "the first product list",
    Kind.CLOSING: "the final product list",
}


def goods(books: Books, operation: int) -> str:
    """Return what was ordered: "2 Football, 1 Yoga Mat"."""
    start = int(books.firsts[operation])
    end = start + int(books.counts[operation]) - int(books.tells_apart[operation])
    sums: dict[str, int] = {}
    for row in range(start, end):
        name = books.names[books.product[row]]
        sums[name] = sums.get(name, 0) + int(books.quantity[row])
    return ", ".join(f"{quantity} {name}" for name, quantity in sums.items()) or "nothing"


def lines(books: Books, operation: int) -> str:
    """Return what was ordered, line by line."""
    rows = range(books.firsts[operation], books.firsts[operation] + books.counts[operation])
    return " and ".join(f"{books.quantity[row]} {books.names[books.product[row]]}" for row in rows)


def order(books: Books, operation: int) -> str:
    """Return "order 12 of user3 (2 Football)"."""
    position = int(books.position[operation])
    return f"order {position} of {books.user(operation)} ({goods(books, operation)})"


def in_full(books: Books, operation: int) -> str:
    """Return everything that was told of an order."""
    rows = range(books.firsts[operation], books.firsts[operation] + books.counts[operation])
    items = ", ".join(
        f"{books.quantity[row]} {books.names[books.product[row]]}"
        f" at {format_cents(int(books.price[row]))}, {books.stock[row]} left"
        for row in rows
    )
    return f"[{items}; total {format_cents(int(books.total[operation]))}]"


def what(books: Books, operation: int) -> str:
    """Name any operation: "the product list of user3, as of 12"."""
    kind = Kind(int(books.kind[operation]))
    if kind is Kind.REPLAYED:
        return f"the repeat of {order(books, operation)}, as of {books.as_of[operation]}"
    if kind in TOLD:
        return order(books, operation)
    user = books.user(operation)
    if kind in NAMES:
        wanted = goods(books, operation) if kind in REFUSALS else ""
        return f"{NAMES[kind].format(user=user, goods=wanted)}, as of {books.as_of[operation]}"
    return f"the order of {goods(books, operation)} by {user}"


def when(books: Books, operation: int) -> str:
    """Return "sent at 1.203456 s, answered at 1.207001 s", from the clock's first request on.

    An entry of a final list was told when that was.
    """
    kind = books.kind[operation]
    if kind == Kind.LISTED:
        operation = int(np.flatnonzero(books.kind[:operation] == Kind.FINAL)[-1:].sum())
    on_clock = (books.clock == books.clock[operation]) & (books.kind != Kind.LISTED)
    start = int(books.sent[on_clock].min(initial=int(books.sent[operation])))
    sent = (int(books.sent[operation]) - start) / 1e9
    if books.answered[operation] == NEVER:
        text = f"sent at {sent:.6f} s, never answered"
    else:
        answered = (int(books.answered[operation]) - start) / 1e9
        text = f"sent at {sent:.6f} s, answered at {answered:.6f} s"
    return f"listed: {text}" if kind == Kind.LISTED else text


def known(books: Books, operation: int) -> str:
    """Name an operation with its times: "order 12 of user3 (2 Football), sent at 1.203456 s, …"."""
    return f"{what(books, operation)}, {when(books, operation)}"
