"""Stock rules: what must hold of quantities, prices, totals and what is left.

Each is a pure function of a run's books. Others who buy during the run can only take stock away, so
more than expected always convicts, and less only where nobody else can have bought. Stock that the
owner of the shop adds or takes by hand during a run looks like a fault: it is in no ledger.
"""

from typing import NamedTuple

import numpy as np

from sportshop.audit import words
from sportshop.audit.books import Books
from sportshop.audit.columns import first_of_each, is_in
from sportshop.audit.history import LISTS, TOLD, UNKNOWN_PRICE, Array, Kind
from sportshop.audit.shelf import Promised, Tellings, doubtful_tellings, promised, sold_till
from sportshop.audit.verdict import Findings, Verdict, judge
from sportshop.products import format_cents

EXACT_MAX = 2.0**60
"""Sums of cents up to here are sure to be exact in 64 bits."""


def totals_add_up(books: Books) -> Verdict:
    """Check that nobody pays more or less than price times quantity."""
    found = Findings()
    told = books.find(*TOLD)
    wrong = books.sum_of_items(told) != books.total[told]
    exact = np.abs(books.price.of_line.astype(float)) * books.quantity.of_line <= EXACT_MAX / 2**16
    if not exact.all():
        wrong |= is_in(told, books.owner[~exact[books.price.line]])
    for at in told[wrong].tolist():
        total, cents = int(books.total[at]), _total(books, at)
        if total != cents:
            found.fault(
                lambda: (
                    f"{words.known(books, at)}, comes to {format_cents(cents)},"
                    f" told was {format_cents(total)}"
                )
            )
    return judge("every total is the sum of its items", found)


def _total(books: Books, operation: int) -> int:
    """Return the sum of an order's items, however large."""
    rows = slice(books.firsts[operation], books.firsts[operation] + books.counts[operation])
    pairs = zip(books.price[rows].tolist(), books.quantity[rows].tolist(), strict=True)
    return sum(price * quantity for price, quantity in pairs)


def prices_are_the_list_s(books: Books) -> Verdict:
    """Check that a product has one price, in lists as in receipts: that of the first list."""
    found = Findings()
    rows = np.flatnonzero(books.are(*TOLD, *LISTS)[books.owner])
    rows = rows[books.price[rows] != UNKNOWN_PRICE]
    right = np.full(max(1, len(books.names)), UNKNOWN_PRICE)
    right[books.product[rows[::-1]]] = books.price[rows[::-1]]  # of the first that told
    if books.opening is not None:
        listed = books.rows_of(np.array([books.opening]))
        right[books.product[listed]] = books.price[listed]
    for row in rows[books.price[rows] != right[books.product[rows]]].tolist():
        at, product = int(books.owner[row]), int(books.product[row])
        found.fault(
            lambda: (
                f"{words.known(books, at)}, told {books.names[product]} at"
                f" {format_cents(int(books.price[row]))}, and the"
                f" {'first list' if product in books.shelved else 'first to tell of it'} at"
                f" {format_cents(int(right[product]))}"
            )
        )
    return judge("receipts have the prices of the list", found)


def receipts_replay(books: Books) -> Verdict:
    """Check that each order left what the one before it in the ledger left, less what it took.

    This finds the lost update, which no sum finds: two orders that both sell the last unit and
    both say that none is left.
    """
    found = Findings()
    parts = books.parts
    follows = np.flatnonzero(parts.product[1:] == parts.product[:-1]) + 1
    right = parts.lowest[follows - 1] - parts.quantity[follows]
    others = books.missing_between(parts.position[follows - 1], parts.position[follows]) > 0
    wrong = (parts.lowest[follows] != right) | (parts.highest[follows] != right)
    columns = (follows[wrong], right[wrong], others[wrong])
    for at, expected, doubt in zip(*(column.tolist() for column in columns), strict=True):
        if parts.lowest[at] == parts.highest[at]:
            excusable = doubt and parts.lowest[at] < expected
            (found.doubt if excusable else found.fault)(
                lambda: (
                    f"{words.known(books, int(parts.operation[at]))}, left {parts.lowest[at]}"
                    f" of {_name(books, parts.product[at])}: after"
                    f" {_before(books, int(parts.operation[at - 1]))} it is {expected}"
                    f"{', unless others bought in between' if excusable else ''}"
                )
            )
    _blame_contradictions(books, found)
    strange = books.is_strange[parts.product]
    _blame_strange(books, found, parts.operation[strange], parts.product[strange])
    return judge("a replay in ledger order gives the stock that each order left", found)


def _blame_contradictions(books: Books, found: Findings) -> None:
    """Blame orders of which two items tell of two stocks of one product."""
    parts = books.parts
    for at in np.flatnonzero(parts.lowest != parts.highest).tolist():
        found.fault(
            lambda: (
                f"{words.known(books, int(parts.operation[at]))}, left {parts.lowest[at]} and"
                f" {parts.highest[at]} of {_name(books, parts.product[at])}"
            )
        )


def _before(books: Books, operation: int) -> str:
    return "the first list" if operation == books.opening else words.order(books, operation)


def _name(books: Books, product: int) -> str:
    return books.names[int(product)]


def _blame_strange(books: Books, found: Findings, operations: Array, products: Array) -> None:
    """Blame whoever told of products that the first list does not have.

    Others who buy can't bring a product; the owner of the shop can.
    """
    for at, product in zip(operations.tolist(), products.tolist(), strict=True):
        (found.fault if books.is_alone else found.doubt)(
            lambda: (
                f"{words.known(books, at)}, tells of {books.names[product]}, which was not in"
                " the first list"
            )
        )


def product_lists_replay(books: Books) -> Verdict:
    """Check every product in every list of products against the ledger."""
    found = Findings()
    _check_told(books, found, doubtful_tellings(books))
    rows = np.flatnonzero(books.are(*LISTS)[books.owner])
    rows = rows[books.is_strange[books.product[rows]]]
    _blame_strange(books, found, books.owner[rows], books.product[rows])
    if books.opening is not None:
        short = books.is_whole & (books.length < len(books.shelved))
        for at in np.flatnonzero(short).tolist():
            (found.fault if books.is_alone else found.doubt)(
                lambda: (
                    f"{words.known(books, at)}, has {books.length[at]} products, sold out or"
                    f" not: the first list had {len(books.shelved)}"
                )
            )
    return judge("every product list is the ledger's as of its position", found)


def _check_told(books: Books, found: Findings, told: Tellings) -> None:
    """Blame operations that told of another stock than the newest receipt before them left."""
    parts = books.parts
    as_of = books.as_of[told.operation]
    newest = books.newest_part(told.product, as_of)
    right = np.append(parts.lowest, 0)[newest]
    wrong = (newest >= 0) & (told.stock != right)
    told = Tellings(*(column[wrong] for column in told))
    newest, right = newest[wrong], right[wrong]
    others = books.missing_between(parts.position[newest], as_of[wrong]) > 0
    doubtful = others & (told.stock < right)
    columns = (*told, newest, right, doubtful)
    for one, product, stock, at, expected, doubt in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        (found.doubt if doubt else found.fault)(
            lambda: (
                f"{words.known(books, one)}, tells of {stock} {books.names[product]}: after"
                f" {_before(books, int(parts.operation[at]))} it is {expected}"
                f"{', unless others bought in between' if doubt else ''}"
            )
        )


def stock_never_rises(books: Books) -> Verdict:
    """Check, where others bought meanwhile, that what was told of a product fits together.

    They may have taken anything at any position that nobody of ours was told of. But they put
    nothing back, and as of one position there is one stock.
    """
    found = Findings()
    rule = "stock never rises, whoever bought"
    if not books.has_gaps:  # then each telling is checked against the receipts alone
        return judge(rule, found)
    chain, quantity, moment = _everything_told(books)
    order = np.lexsort((moment, chain.product))
    chain, quantity = Tellings(*(column[order] for column in chain)), quantity[order]
    same = chain.product[1:] == chain.product[:-1]
    most = chain.stock[:-1] - quantity[1:]
    at_once = moment[order][1:] == moment[order][:-1]
    wrong = same & ((chain.stock[1:] > most) | (at_once & (chain.stock[1:] != most)))
    for at in np.flatnonzero(wrong).tolist():
        one, two = int(chain.operation[at]), int(chain.operation[at + 1])
        found.fault(
            lambda: (
                f"{words.known(books, two)}, tells of {chain.stock[at + 1]}"
                f" {_name(books, chain.product[at])} left, and {words.known(books, one)}, of"
                f" {chain.stock[at]}"
            )
        )
    return judge(rule, found)


def _everything_told(books: Books) -> tuple[Tellings, Array, Array]:
    """Return who told of what stock, how much he bought himself, and when that was (see there).

    Lists that tell what the receipts do are left out: they add nothing.
    """
    parts, lists, refusals = books.parts, doubtful_tellings(books), books.find(Kind.SOLD_OUT)
    refused = Tellings(refusals, _named(books, refusals), books.stock[_last(books, refusals)])
    receipts = Tellings(parts.operation, parts.product, parts.lowest)
    is_sale = parts.operation != (-1 if books.opening is None else books.opening)
    reads = np.concatenate([lists.operation, refused.operation])
    moments = (
        2 * books.place(parts.position) + ~is_sale,
        2 * books.place(books.as_of[reads]) + 1,
    )
    chain = Tellings(
        *(np.concatenate(column) for column in zip(receipts, lists, refused, strict=True))
    )
    quantity = np.concatenate([parts.quantity, np.zeros(len(reads), np.int64)])
    return chain, quantity, np.concatenate(moments)


def refusals_are_true(books: Books) -> Verdict:
    """Check that who was refused was refused for what was truly short, or not there.

    The product named must have had just so much as of that position, less than was asked for in all
    items together, and be the first in the order that falls short.
    """
    found = Findings()
    refusals = books.find(Kind.SOLD_OUT)
    named = _last(books, refusals)
    _check_told(books, found, Tellings(refusals, books.product[named], books.stock[named]))
    enough = books.stock[named] >= books.quantity[named]
    for at, row in zip(refusals[enough].tolist(), named[enough].tolist(), strict=True):
        found.fault(
            lambda: (
                f"{words.known(books, at)}, says that {books.stock[row]}"
                f" {books.names[books.product[row]]} were available, and"
                f" {books.quantity[row]} requested"
            )
        )
    wishes = _wishes(books, refusals)
    _check_requested(books, found, wishes)
    _check_earlier(books, found, wishes)
    _check_not_found(books, found)
    return judge("who is refused is refused for what is short", found)


class Wishes(NamedTuple):
    """What refused orders asked for, summed per product: columns, in the orders' order."""

    operation: Array
    product: Array
    quantity: Array
    row: Array
    """The first item that names the product."""


def _wishes(books: Books, refusals: Array) -> Wishes:
    rows = books.rows_of(refusals)
    owner, product = books.owner[rows], books.product[rows]
    last = (rows == (books.firsts + books.counts - 1)[owner]) & books.tells_apart[owner]
    rows, owner, product = rows[~last], owner[~last], product[~last]
    if len(rows) == len(np.unique(owner)):  # one item each
        return Wishes(owner, product, books.quantity[rows], rows)
    order = np.lexsort((product, owner))
    number = owner[order].astype(np.int64) * (len(books.names) + 1) + product[order]
    starts = first_of_each(number)
    summed = np.add.reduceat(books.quantity[rows][order], starts)
    heads = order[starts]
    in_order = np.argsort(rows[heads], kind="stable")
    heads, summed = heads[in_order], summed[in_order]
    return Wishes(owner[heads], product[heads], summed, rows[heads])


def _check_requested(books: Books, found: Findings, wishes: Wishes) -> None:
    """Check that what is said to be short was asked for, in just that quantity."""
    at = wishes.operation
    told = _last(books, at)
    right = (wishes.product == books.product[told]) & (wishes.quantity == books.quantity[told])
    refusals = books.find(Kind.SOLD_OUT)
    for one in refusals[~is_in(refusals, at[right])].tolist():
        row = int(books.firsts[one] + books.counts[one] - 1)
        found.fault(
            lambda: (
                f"{words.known(books, one)}, says that {books.quantity[row]}"
                f" {books.names[books.product[row]]} were requested"
            )
        )


def _check_earlier(books: Books, found: Findings, wishes: Wishes) -> None:
    """Check that nothing that an order names earlier fell short, or did not exist at all."""
    at = wishes.operation
    named = wishes.product == _named(books, at)
    where = np.full(len(books.of), -1, np.int64)
    where[at[named]] = wishes.row[named]
    newest = books.newest_part(wishes.product, books.as_of[at])
    left = np.append(books.parts.lowest, 0)[newest]
    earlier = (wishes.row < where[at]) & (newest >= 0) & (left < wishes.quantity)
    for one, product in zip(at[earlier].tolist(), wishes.product[earlier].tolist(), strict=True):
        name = books.names[int(_named(books, np.array([one]))[0])]
        found.fault(
            lambda: (
                f"{words.known(books, one)}, is about {name},"
                f" though {books.names[product]} falls short before it"
            )
        )
    strange = books.is_strange[wishes.product]
    _blame_strange(books, found, at[strange], wishes.product[strange])


def _check_not_found(books: Books, found: Findings) -> None:
    """Check that what is said not to exist was asked for, and is in no list."""
    refusals = books.find(Kind.NOT_FOUND)
    named = _named(books, refusals)
    there = books.newest_part(named, books.as_of[refusals]) >= 0
    wishes = _wishes(books, refusals)
    asked = is_in(refusals, wishes.operation[wishes.product == _named(books, wishes.operation)])
    strange = books.is_strange[wishes.product] & books.is_alone
    heads = wishes.operation[strange]
    first = first_of_each(heads)
    another = heads[first][wishes.product[strange][first] != _named(books, heads[first])]
    wrong = there | ~asked | is_in(refusals, another)
    for at, product, exists in zip(
        refusals[wrong].tolist(), named[wrong].tolist(), there[wrong].tolist(), strict=True
    ):
        why = "it had been listed or sold" if exists else "that is not the first that is not there"
        found.fault(
            lambda: f"{words.known(books, at)}, says there is no {books.names[product]}: {why}"
        )


def _named(books: Books, refusals: Array) -> Array:
    """Return the product that a refusal names."""
    return np.asarray(books.product[_last(books, refusals)])


def _last(books: Books, operations: Array) -> Array:
    return np.asarray(books.firsts[operations] + books.counts[operations] - 1)


def nothing_is_oversold(books: Books) -> Verdict:
    """Check that no more is promised than was there at the start, and that no stock is negative.

    Every order that was acknowledged counts, also those that share a position with another.
    """
    found = Findings()
    if books.opening is not None:
        _blame_oversold(books, found, promised(books))
    telling = books.are(*TOLD, Kind.SOLD_OUT, *LISTS)
    for row in np.flatnonzero((books.stock < 0) & telling[books.owner]).tolist():
        found.fault(
            lambda: (
                f"{words.known(books, int(books.owner[row]))}, told of {books.stock[row]}"
                f" {_name(books, books.product[row])} left"
            )
        )
    return judge("nothing is sold beyond the stock at the start", found)


def _blame_oversold(books: Books, found: Findings, orders: Promised) -> None:
    if not len(orders.product):
        return
    had = np.full(len(books.names), -1, np.int64)
    had[list(books.shelved)] = list(books.shelved.values())
    sold = np.cumsum(orders.quantity)
    starts = first_of_each(orders.product)
    lengths = np.diff(np.append(starts, len(sold)))
    sold -= np.repeat(sold[starts] - orders.quantity[starts], lengths)
    left = had[orders.product] - sold
    is_last = np.ones(len(left), bool)  # of the items with which an order names the product
    is_last[:-1] = (np.diff(orders.operation) != 0) | (np.diff(orders.product) != 0)
    for at in np.flatnonzero(is_last & (left < 0) & (had[orders.product] >= 0)).tolist():
        found.fault(
            lambda: (
                f"{words.known(books, int(orders.operation[at]))}, is {-left[at]} beyond the"
                f" {had[orders.product[at]]} {_name(books, orders.product[at])} there were"
            )
        )


def final_stock_balances(books: Books) -> Verdict:
    """Check that stock left and stock sold are the stock at the start."""
    found = Findings()
    rule = "stock left and stock sold make the stock at the start"
    if books.opening is None or books.closing is None:
        return judge(rule, found)  # which makes the record incomplete
    opening, final = books.shelved, books.shelf(books.closing)
    sold = sold_till(books, books.last)
    others = bool(books.missing_between(books.first, books.last))
    for product in sorted(opening.keys() | final.keys()):
        name = books.names[product]
        if product not in opening or product not in final:
            (found.fault if books.is_alone else found.doubt)(
                lambda: f"{name} is not in both product lists"
            )
            continue
        excess = final[product] + int(sold[product]) - opening[product]
        if excess < 0 and others:
            found.doubt(lambda: f"{name}: {-excess} are missing, which others may have bought")
        elif excess:
            found.fault(
                lambda: (
                    f"{name}: {opening[product]} at the start, {sold[product]} sold,"
                    f" {final[product]} left, which is {abs(excess)} too"
                    f" {'many' if excess > 0 else 'few'} (newest orders of it:"
                    f" {_newest_orders(books, product)})"
                )
            )
    return judge(rule, found)


def _newest_orders(books: Books, product: int) -> str:
    parts = books.parts
    of_it = (parts.product == product) & (parts.position <= books.last) & (parts.quantity > 0)
    return ", ".join(map(str, parts.position[of_it][-3:])) or "none"
