"""Time rules: the order of the ledger agrees with the order in which things were seen to happen.

This is what makes "serializable" strict: who has seen an answer may rely on it, through whichever
customer he asks next.
"""

import numpy as np

from sportshop.audit import words
from sportshop.audit.books import READS, Books
from sportshop.audit.columns import NEVER, order_of
from sportshop.audit.history import TOOK_MAX, Array, Kind
from sportshop.audit.verdict import Findings, Verdict, judge


def ledger_agrees_with_real_time(books: Books) -> Verdict:
    """Check that nothing lies before what had been answered when it was sent.

    An order at position p happened at 2p, a read as of p at 2p + 1. So of two operations the one
    that was answered before the other was sent may not happen after it. The running maximum over
    the answers, sorted by time, tells for each request the latest that anybody could know. Of
    other clocks it is known only that everything came after the opening and before the closing.
    """
    found = Findings()
    least, most = _moments(books)
    answered = books.answered
    for clock in np.unique(books.clock):
        some = np.flatnonzero((books.clock == clock) & (books.kind != Kind.LISTED))
        _check_clock(books, found, some, least, most, answered)
        _check_end(books, found, some, least, most)
    _check_start(books, found, most)
    _check_answered(books, found)
    return judge("what was seen before a request was sent comes before it in the ledger", found)


def _moments(books: Books) -> tuple[Array, Array]:
    """Return when each operation happened at the earliest and at the latest, by the ledger."""
    least = np.full(len(books.of), -1, np.int64)
    most = np.full(len(books.of), NEVER, np.int64)
    accepted = books.find(Kind.ACCEPTED)
    least[accepted] = most[accepted] = 2 * books.place(books.position[accepted])
    reads = books.find(*READS)
    least[reads] = most[reads] = 2 * books.place(books.as_of[reads]) + 1
    reused = books.find(Kind.KEY_REUSED)
    sale = books.sale_of(reused)
    known = sale >= 0
    least[reused[known]] = 2 * books.place(books.position[sale[known]]) + 1
    tries = _first_tries(books)
    most[tries] = 2 * books.place(books.position[books.sale_of(tries)])
    return least, most


def _first_tries(books: Books) -> Array:
    """Return the first tries of orders that were sold, and of which no answer said so.

    An order that was sent again may have been sold at either try; after the first in any case.
    """
    tries = books.tries
    tries = tries[books.kind[books.sale_of(tries)] != Kind.ACCEPTED]
    tries = tries[np.lexsort((books.sent[tries], books.key[tries]))]
    _, first = np.unique(books.key[tries], return_index=True)
    return np.asarray(tries[first])


def _check_clock(
    books: Books, found: Findings, some: Array, least: Array, most: Array, answered: Array
) -> None:
    """Check operations whose times can be compared."""
    if not len(some):
        return
    by_end = some[answered[some] != NEVER]
    by_end = by_end[order_of(answered[by_end])]
    latest = np.maximum.accumulate(np.append(-1, least[by_end]))
    # How many had been answered before: what was answered in the same ns may have been later.
    before = np.searchsorted(answered[by_end], books.sent[some], "left")
    known = latest[before]
    for at in np.flatnonzero(known > most[some]).tolist():
        found.fault(
            lambda: _contradiction(
                books,
                int(some[at]),
                int(by_end[np.argmax(least[by_end[: before[at]]] == known[at])]),
            )
        )


def _contradiction(books: Books, late: int, seen: int) -> str:
    return (
        f"{words.known(books, late)}, lies before {words.known(books, seen)},"
        " which had been answered when it was sent"
    )


def _check_answered(books: Books, found: Findings) -> None:
    """See that the times of answers are known, at least of half of them: else nothing is shown."""
    told = np.flatnonzero((books.kind != Kind.UNKNOWN) & (books.kind != Kind.LISTED))
    timeless = told[books.of["took"][told] == TOOK_MAX]
    if 2 * len(timeless) > len(told):
        for at in timeless.tolist():
            found.doubt(lambda: f"nobody knows when {words.what(books, at)}, was answered")


def _check_start(books: Books, found: Findings, most: Array) -> None:
    """Check that nothing is older than the opening, whatever the clock."""
    if books.opening is None:
        return
    old = most < most[books.opening]
    for at in np.flatnonzero(old).tolist():
        found.fault(
            lambda: (
                f"{words.known(books, at)}, lies before the first product list,"
                f" as of {books.first}, which had been answered when it was sent"
            )
        )


def _check_end(books: Books, found: Findings, some: Array, least: Array, most: Array) -> None:
    """Check the last lists on this clock against what was answered to workers with others."""
    kind = books.kind[some]
    last = some[(kind == Kind.CLOSING) | (kind == Kind.FINAL)]
    others = np.ones(len(books.of), bool)
    others[some] = False
    others = np.flatnonzero(others & (books.kind < Kind.LISTED))
    if len(last) and len(others):
        seen = int(others[np.argmax(least[others])])
        for at in last[most[last] < least[seen]].tolist():
            found.fault(lambda: _contradiction(books, at, seen))
