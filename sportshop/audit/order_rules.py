"""Order rules: what must hold of positions, receipts and order lists.

Each is a pure function of a run's books. Knows nothing of stock.
"""

import numpy as np

from sportshop.audit import words
from sportshop.audit.books import NO_KEY_ID, Books
from sportshop.audit.columns import first_of_each, is_in, order_of
from sportshop.audit.history import TOLD, Array, Kind
from sportshop.audit.verdict import Findings, Verdict, judge

RANGES_MAX = 5


def answers_fit_what_was_asked(books: Books) -> Verdict:
    """Check what one answer shows by itself: its items, its `asOf`, the order of its entries."""
    found = Findings()
    for remark in books.history.remarks:
        found.fault(lambda: f"{words.known(books, remark.operation)}, {remark.text}")
    for text in books.history.violations:
        found.fault(lambda: text)
    return judge("every answer fits its request and itself", found)


def positions_are_unique(books: Books) -> Verdict:
    """Check that one ledger position holds one order, in receipts as in lists."""
    found = Findings()
    told = books.told
    position, key, buyer = books.position[told], books.key[told], books.buyer[told]
    same = position[1:] == position[:-1]
    other = same & ((buyer[1:] != buyer[:-1]) | (key[1:] != key[:-1]))
    new = books.kind[told] == Kind.ACCEPTED
    again = same & new[1:] & new[:-1]
    for at in np.flatnonzero(other | again).tolist():
        found.fault(
            lambda: (
                f"position {position[at]} holds {words.known(books, int(told[at]))},"
                f" and {words.known(books, int(told[at + 1]))}"
            )
        )
    return judge("no ledger position is given to two orders", found)


def new_orders_have_new_positions(books: Books) -> Verdict:
    """Check that what is sold during the run comes after what was sold before it."""
    found = Findings()
    ours = ~books.is_foreign | books.are(Kind.ACCEPTED, Kind.REPLAYED)
    for at in np.flatnonzero(books.are(*TOLD) & ours & (books.position <= books.first)).tolist():
        found.fault(
            lambda: (
                f"{words.known(books, at)}, was told, but {books.first} positions had"
                " been taken before the run"
            )
        )
    return judge("every new order has a new position", found)


def positions_have_no_gaps(books: Books) -> Verdict:
    """Check for positions that nobody was told of: they may be anybody's, unless we are alone.

    Alone, what follows the final lists can still be ours: an order whose answer was lost can have
    been sold after its owner's list was read.
    """
    found = Findings()
    edges = books.ends
    gaps = np.flatnonzero(np.diff(edges) > 1)
    if len(gaps):
        count = int((np.diff(edges)[gaps] - 1).sum())
        are = "position is" if count == 1 else "positions are"
        text = f"{count} {are} in no list of ours ({_ranges(edges, gaps)}): "
        if not books.is_alone:
            found.doubt(lambda: text + "others bought meanwhile, or the shop skipped them")
        elif _can_be_late_orders(books, edges, gaps, count):
            found.doubt(
                lambda: (
                    text + "orders of ours whose answers were lost may have been sold after the"
                    " final lists were read"
                )
            )
        else:
            found.fault(lambda: text + "nobody else was there, so the shop skipped them")
    return judge("every position taken during the run is in a list", found)


def _can_be_late_orders(books: Books, edges: Array, gaps: Array, count: int) -> bool:
    """Tell whether orders sold too late for any final list can account for these positions.

    Each fits only behind the list of its owner, so the nth to fit has to fit the nth position.
    """
    unknown = books.find(Kind.UNKNOWN)
    unsold = unknown[books.sale_of(unknown) < 0]
    keyless = books.key[unsold] == NO_KEY_ID
    _, one_each = np.unique(books.key[unsold[~keyless]], return_index=True)
    late = np.concatenate([unsold[keyless], unsold[~keyless][one_each]])
    if len(late) < count:
        return False
    positions = [
        position for at in gaps.tolist() for position in range(edges[at] + 1, edges[at + 1])
    ]
    after = np.sort(books.read_till[books.buyer[late]])[:count]
    return bool((after < np.array(positions)).all())


def _ranges(edges: Array, gaps: Array) -> str:
    shown = [
        f"{edges[at] + 1}"
        if edges[at + 1] - edges[at] == 2
        else f"{edges[at] + 1} to {edges[at + 1] - 1}"
        for at in gaps[:RANGES_MAX]
    ]
    return ", ".join(shown) + (", …" if len(gaps) > RANGES_MAX else "")


def orders_are_told_alike(books: Books) -> Verdict:
    """Check that an order is the same whenever it is told: receipts, repeats, lists."""
    found = Findings()
    told, digest = books.told, books.told_digests
    same = books.position[told][1:] == books.position[told][:-1]
    for at in np.flatnonzero(same & (digest[1:] != digest[:-1])).tolist():
        one, two = int(told[at]), int(told[at + 1])
        found.fault(
            lambda: (
                f"{words.known(books, one)}, was told as {words.in_full(books, one)},"
                f" then as {words.in_full(books, two)}"
            )
        )
    return judge("an order is told alike in receipts and in lists", found)


def acknowledged_orders_are_listed(books: Books) -> Verdict:
    """Check that each order that was acknowledged is in its owner's final list."""
    found = Findings()
    told, listed = books.told, books.listed
    receipts = told[books.kind[told] != Kind.LISTED]
    receipts = receipts[~_are_listed(books, receipts)]
    owned = books.at(books.buyer[receipts], books.position[receipts])
    missing = receipts[~is_in(owned, books.at(books.buyer[listed], books.position[listed]))]
    for at in missing.tolist():
        till = books.read_till[books.buyer[at]]
        if till < 0:
            found.doubt(
                lambda: (
                    f"{words.known(books, at)}, was acknowledged, and there is no final list"
                    f" of {books.user(at)}"
                )
            )
        elif books.position[at] <= till:  # beyond it, the order of time is to blame
            found.fault(
                lambda: (
                    f"{words.known(books, at)}, was acknowledged, and is not in"
                    f" {books.user(at)}'s final list, as of {till}"
                )
            )
    return judge("every acknowledged order is in its owner's list", found)


def _are_listed(books: Books, receipts: Array) -> Array:
    """Tell of receipts whether the first list that tells of the position is their buyer's."""
    listed = books.listed
    if not len(listed):
        return np.zeros(len(receipts), bool)
    position, wanted = books.position[listed], books.position[receipts]
    at = np.minimum(np.searchsorted(position, wanted), len(listed) - 1)
    same = (position[at] == wanted) & (books.buyer[listed[at]] == books.buyer[receipts])
    return np.asarray(same)


def lists_are_private(books: Books) -> Verdict:
    """Check that a customer's list holds his own orders, each once, and nobody else's."""
    found = Findings()
    listed = books.listed
    same = books.position[listed][1:] == books.position[listed][:-1]
    for at in np.flatnonzero(same).tolist():
        one, two = int(listed[at]), int(listed[at + 1])
        if books.buyer[one] == books.buyer[two]:
            found.fault(lambda: f"{words.order(books, one)} is twice in {books.user(one)}'s list")
        else:
            found.fault(
                lambda: (
                    f"order {books.position[one]} is in the lists of"
                    f" {books.user(one)} and {books.user(two)}"
                )
            )
    for at, asker in _of_others(books):
        found.fault(
            lambda: (
                f"{words.order(books, at)} is in {books.user(at)}'s list, and its key is of"
                f" {words.known(books, asker)}"
            )
        )
    return judge("nobody's list holds another's order", found)


def _of_others(books: Books) -> list[tuple[int, int]]:
    """Return entries whose key was used by others only, each with one of their orders."""
    asked = np.flatnonzero((books.kind <= Kind.UNKNOWN) & ~books.is_foreign)
    own = books.told_alone
    own = own[(books.kind[own] == Kind.LISTED) & ~books.is_foreign[own]]
    strange = own[~is_in(books.key[own], books.key[asked])]
    if not len(strange):
        return []
    text = books.key & (2**40 - 1)
    by_text = asked[order_of(text[asked])]
    at = np.searchsorted(text[by_text], text[strange])
    pairs = zip(strange.tolist(), at.tolist(), strict=True)
    return [
        (one, int(by_text[place]))
        for one, place in pairs
        if place < len(by_text) and text[by_text[place]] == text[one]
    ]


def lists_end_at_their_as_of(books: Books) -> Verdict:
    """Check that no final list tells of an order that came after what it is true as of."""
    found = Findings()
    for at in np.flatnonzero(books.are(Kind.LISTED) & (books.position > books.as_of)).tolist():
        found.fault(
            lambda: (
                f"{words.known(books, at)}, is in {books.user(at)}'s list as of {books.as_of[at]}"
            )
        )
    return judge("no list tells of what came later", found)


def order_lists_replay(books: Books) -> Verdict:
    """Check each list of own orders that was read during the run against the ledger."""
    found = Findings()
    sales, lists = books.sales, books.find(Kind.ORDERS)
    place = books.at(books.buyer[sales], books.position[sales])
    by_user = order_of(place)
    place = place[by_user]
    digest = books.told_digests[first_of_each(books.position[books.told])][by_user]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(digest, dtype=np.uint64)])
    end = np.searchsorted(place, books.at(books.buyer[lists], books.as_of[lists]), "right")
    start = np.searchsorted(place, books.at(books.buyer[lists], np.zeros(1, np.int64)), "left")
    limit, count = books.stock[books.firsts[lists]], books.quantity[books.firsts[lists]]
    start = np.where(limit > 0, np.maximum(start, end - limit), start)
    with np.errstate(over="ignore"):
        wrong = sums[end] - sums[start] != books.of["number"][lists].view(np.uint64)
    wrong |= (end - start) != count
    for at in np.flatnonzero(wrong).tolist():
        one = int(lists[at])
        sure = books.as_of[one] <= books.read_till[books.buyer[one]]
        expected, marks = sales[by_user[start[at] : end[at]]], digest[start[at] : end[at]]
        (found.fault if sure else found.doubt)(lambda: _wrong_list(books, one, expected, marks))
    return judge("every order list is the ledger's as of its position", found)


def _wrong_list(books: Books, operation: int, expected: Array, digests: Array) -> str:
    """Tell what is wrong with a list, of which only the sum of the entries' digests is known."""
    told = np.uint64(int(books.of["number"][operation]) & (2**64 - 1))
    count = int(books.quantity[books.firsts[operation]])
    newest = int(books.stock[books.firsts[operation] + 1])
    text = f"{words.known(books, operation)},"
    with np.errstate(over="ignore"):
        difference = told - digests.sum(dtype=np.uint64)
        lacking = expected[digests == np.uint64(0) - difference]
    if len(lacking) and count == len(expected) - 1:
        return f"{text} lacks {words.order(books, int(lacking[0]))}"
    extra = books.told[books.told_digests == difference]
    if len(extra) and count == len(expected) + 1:
        return f"{text} has one too many: {words.order(books, int(extra[0]))}"
    last = int(books.position[expected[-1]]) if len(expected) else "none"
    return (
        f"{text} has {count} orders, the newest {newest or 'none'}: by the ledger it has"
        f" {len(expected)}, the newest {last}, or they were told otherwise"
    )
