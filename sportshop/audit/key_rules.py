"""Key rules: what must hold of order keys: they sell once, and only what was sent with them.

An order whose answer was lost may have been sold or not. If it was, a final list or a repeat tells
so, by its key. Each rule is a pure function of a run's books.
"""

import numpy as np

from sportshop.audit import words
from sportshop.audit.books import NO_KEY_ID, REFUSALS, Books
from sportshop.audit.columns import is_in
from sportshop.audit.digest import stirred
from sportshop.audit.history import Array, Kind
from sportshop.audit.verdict import Findings, Verdict, judge


def keys_sell_once(books: Books) -> Verdict:
    """Check that an order is sold once, however often it is sent with its key."""
    found = Findings()
    keys, sales = books.sold_keys
    for at in np.flatnonzero(keys[1:] == keys[:-1]).tolist():
        one, two = int(sales[at]), int(sales[at + 1])
        found.fault(
            lambda: (
                f"{words.order(books, one)} and {words.order(books, two)} are one order,"
                f" sent with one key: {words.when(books, one)}; {words.when(books, two)}"
            )
        )
    return judge("no order is sold twice", found)


def reused_keys_were_used(books: Books) -> Verdict:
    """Check that ORDER_KEY_REUSED is said only of a key that sold other items."""
    found = Findings()
    reused = books.find(Kind.KEY_REUSED)
    sales = books.sale_of(reused)
    same = np.zeros(len(reused), bool)
    some = sales >= 0
    same[some] = books.goods_digests(reused[some]) == books.goods_digests(sales[some])
    wrong = ~some | same
    sure = books.precedes_final(reused)
    columns = (reused[wrong], sales[wrong], sure[wrong])
    for at, sale, certain in zip(*(column.tolist() for column in columns), strict=True):
        if sale >= 0:
            found.fault(
                lambda: (
                    f"{words.known(books, at)}, was refused because its key had been used"
                    f" for other items, and it sold the same: {words.order(books, sale)}"
                )
            )
        else:
            (found.fault if certain else found.doubt)(
                lambda: (
                    f"{words.known(books, at)}, was refused because its key had been used,"
                    " and nothing was sold with that key"
                )
            )
    return judge("a key is refused only where it sold other items", found)


def sold_keys_are_not_refused(books: Books) -> Verdict:
    """Check that who sends an order again after it was sold is not told that it can't be had."""
    found = Findings()
    refused = books.find(*REFUSALS)
    sales = books.sale_of(refused)
    wrong = (sales >= 0) & (books.position[sales] <= books.as_of[refused])
    for at, sale in zip(refused[wrong].tolist(), sales[wrong].tolist(), strict=True):
        found.fault(
            lambda: (
                f"{words.known(books, at)}, had been sold by then:"
                f" {words.known(books, sale)}, with the same key"
            )
        )
    return judge("no order that was sold is refused afterwards", found)


def refused_orders_leave_no_trace(books: Books) -> Verdict:
    """Check that the lists hold nothing that was refused, and that the shop invents nothing.

    An order in a list of ours that is not of our making may be that of somebody else who uses the
    same account: nobody outside the shop can tell, unless nobody else is there.
    """
    found = Findings()
    asked = books.key[books.are(Kind.ACCEPTED, Kind.UNKNOWN)]
    told = books.told_alone
    told = told[~books.is_foreign[told] & (books.kind[told] != Kind.ACCEPTED)]
    told = told[~is_in(books.key[told], asked)]
    for at in told.tolist():
        (found.doubt if books.history.incomplete else found.fault)(
            lambda: (
                f"{words.known(books, at)}, was told, and this run had placed no such order"
                " or it had been refused"
            )
        )
    entries = _not_ours(books)
    doubtful = _may_be_lost(books, entries) | (not books.is_alone)
    for at, doubt in zip(entries.tolist(), doubtful.tolist(), strict=True):
        (found.doubt if doubt else found.fault)(
            lambda: (
                f"{words.order(books, at)} is in {books.user(at)}'s list, and nobody knows that"
                " this run placed it"
            )
        )
    return judge("the lists hold nothing that was not ordered", found)


def _not_ours(books: Books) -> Array:
    """Return entries of final lists with a strange key, or without one and without a receipt."""
    sales = books.sales
    return np.asarray(sales[(books.kind[sales] == Kind.LISTED) & books.is_foreign[sales]])


def _may_be_lost(books: Books, entries: Array) -> Array:
    """Tell which may be orders without a key whose answer was lost."""
    lost = books.find(Kind.UNKNOWN)
    lost = lost[books.key[lost] == NO_KEY_ID]
    mine, theirs = (
        stirred(books.goods_digests(some) ^ stirred(books.buyer[some].astype(np.uint64)))
        for some in (entries, lost)
    )
    return np.asarray((books.key[entries] == NO_KEY_ID) & is_in(mine, theirs))


def unknown_orders_are_as_asked(books: Books) -> Verdict:
    """Check that an order whose answer was lost was sold with the items that were asked for.

    A key that was sent with several baskets may have sold any of those whose outcome is unknown.
    """
    found = Findings()
    unknown = books.find(Kind.UNKNOWN)
    sales = books.sale_of(unknown)
    unknown, sales = unknown[sales >= 0], sales[sales >= 0]
    unseen = books.kind[sales] != Kind.ACCEPTED
    wrong = unseen & ~is_in(books.key[unknown], books.key[books.tries])
    for at, sale in zip(unknown[wrong].tolist(), sales[wrong].tolist(), strict=True):
        found.fault(
            lambda: (
                f"{words.known(books, sale)}, but {books.user(at)} had asked for"
                f" {words.lines(books, at)}, and told was {words.in_full(books, sale)}"
            )
        )
    return judge("what was sold without an answer is what was asked for", found)
