"""Order rules: what must hold of positions, receipts, order lists and keys.

Every rule is a pure function from a history to a verdict. Knows nothing of stock.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from sportshop.audit.history import History, Sale
from sportshop.audit.verdict import Verdict, judge
from sportshop.audit.wording import conjoin, goods, in_full, ranges
from sportshop.orders import quantities


def reads_are_current(history: History) -> Verdict:
    """Check that a read's `asOf` is at least every position told before it was asked for."""
    known = max((sale.position for sale in history.acknowledged), default=0)
    known = max(known, history.opening.as_of)
    reads = {"the final product list": history.final.as_of}
    reads |= {f"the order list of {user}": all_.as_of for user, all_ in history.listings.items()}
    faults = []
    for name, as_of in reads.items():
        if as_of < known:
            faults.append(f"{name} is as of {as_of}, but position {known} had been told before")
        known = max(known, history.final.as_of)
    return judge("no list is older than what the shop had told before", faults)


def acknowledged_positions_are_new(history: History) -> Verdict:
    """Check that what is sold during the run comes after what was sold before it."""
    first = history.opening.as_of
    faults = [
        f"{sale} was acknowledged, but {first} positions had been taken before the run"
        for sale in history.acknowledged
        if sale.position <= first
    ]
    return judge("every new order has a new position", faults)


def positions_are_unique(history: History) -> Verdict:
    """Check that one ledger position holds one order, in receipts as in lists."""
    holders: dict[int, dict[tuple[str, str | None], Sale]] = defaultdict(dict)
    for _, sale in history.told():
        holders[sale.position].setdefault((sale.user, sale.key), sale)
    faults = [
        f"position {position} holds {conjoin(held.values())}"
        for position, held in sorted(holders.items())
        if len(held) > 1
    ]
    counts = Counter((user, sale.position) for user, sale in _listed(history))
    faults += [
        f"position {position} is {count} times in {user}'s list"
        for (user, position), count in counts.items()
        if count > 1
    ]
    return judge("no ledger position is given to two orders", faults)


def acknowledged_orders_are_listed(history: History) -> Verdict:
    """Check that each receipt is kept: its order is in its owner's list, just as it was told."""
    faults, doubts = [], []
    lists = {
        user: {sale.position: sale for sale in listing.sales}
        for user, listing in history.listings.items()
    }
    for sale in history.acknowledged:
        if sale.user not in lists:
            doubts.append(f"{sale} was acknowledged, and there is no list of {sale.user}")
        elif (listed := lists[sale.user].get(sale.position)) is None:
            faults.append(f"{sale} was acknowledged and is not in {sale.user}'s list")
        elif listed != sale:
            faults.append(f"{sale} was acknowledged as {in_full(sale)}, listed {in_full(listed)}")
    return judge("every acknowledged order is in its owner's list", faults, doubts)


def lists_are_private(history: History) -> Verdict:
    """Check that a customer's list holds his own orders and nobody else's."""
    owners = {sale.key: sale.user for sale in history.acknowledged}
    owners |= {asked.key: asked.user for asked in history.unsettled}
    lists_with: dict[int, set[str]] = defaultdict(set)
    faults = []
    for user, sale in _listed(history):
        lists_with[sale.position].add(user)
        owner = user if sale.key is None else owners.get(sale.key, user)
        if owner != user:
            faults.append(f"order {sale.position} of {owner} is in {user}'s list")
    faults += [
        f"order {position} is in the lists of {conjoin(sorted(users))}"
        for position, users in sorted(lists_with.items())
        if len(users) > 1
    ]
    return judge("nobody's list holds another's order", faults)


def keys_sell_once(history: History) -> Verdict:
    """Check that an order is sold once, however often it is sent with its key."""
    positions: dict[tuple[str, str], set[int]] = defaultdict(set)
    for user, sale in history.told():
        if sale.key is not None:
            positions[user, sale.key].add(sale.position)
    faults = [
        f"orders {conjoin(sorted(held))} of {user} are one order, sent with key {key}"
        for (user, key), held in positions.items()
        if len(held) > 1
    ]
    return judge("no order is sold twice", faults)


def sales_are_as_asked(history: History) -> Verdict:
    """Check that what is sold was asked for, also where the answer was lost on its way."""
    faults = [
        f"{sale}, but {asked.user} had asked for {goods(quantities(asked.items))}"
        for asked, sale in history.misserved
    ]
    asked_for = {(asked.user, asked.key): quantities(asked.items) for asked in history.unsettled}
    for user, sale in _listed(history):
        wanted = asked_for.get((user, sale.key or ""))
        if wanted is not None and wanted != quantities(sale.items):
            faults.append(f"{sale}, but {user} had asked for {goods(wanted)}")
    return judge("every order sold has the items that were asked for", faults)


def lists_hold_only_what_was_ordered(history: History) -> Verdict:
    """Check that a refused order leaves no trace, and that the shop invents none.

    An order in a list of ours that is not of our making may be that of somebody else who uses the
    same account: nobody outside the shop can tell.
    """
    known = {(sale.user, sale.key) for sale in history.acknowledged}
    known |= {(asked.user, asked.key) for asked in history.unsettled}
    faults, doubts = [], []
    for user, sale in _listed(history):
        if (user, sale.key) in known:
            continue
        if history.made_key(sale.key) and not history.incomplete:
            faults.append(f"{sale} is in {user}'s list, though the shop had refused it")
        else:
            doubts.append(f"{sale} is in {user}'s list, and this run did not place it")
    return judge("the lists hold nothing that was not ordered", faults, doubts)


def every_position_is_known(history: History) -> Verdict:
    """Check for positions that nobody was told of: they may be anybody's."""
    doubts = []
    if history.strangers:
        count = sum(map(len, history.strangers))
        doubts.append(
            f"{count} positions are in no list of ours ({ranges(history.strangers)}): "
            "others bought meanwhile, or the shop skipped them"
        )
    return judge("every position taken during the run is in a list", (), doubts)


def _listed(history: History) -> Iterator[tuple[str, Sale]]:
    """Yield what is in the lists, also beyond the final product list, with the list's owner."""
    for user, listing in history.listings.items():
        for sale in listing.sales:
            if sale.position > history.opening.as_of:
                yield user, sale
