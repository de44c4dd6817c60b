"""Stock rules: what must hold of quantities, totals and what is left.

Every rule is a pure function from a history to a verdict. Others who buy during the run can only
take stock away, so more than expected always convicts, and less only where nobody else bought.
Stock that the owner of the shop adds or takes by hand during a run looks like a fault: it is in
no ledger.
"""

from bisect import bisect_right

from sportshop.audit.history import History, Sale, units
from sportshop.audit.verdict import Verdict, judge
from sportshop.audit.wording import conjoin, newest_orders
from sportshop.orders import quantities
from sportshop.products import format_cents


def totals_add_up(history: History) -> Verdict:
    """Check that nobody pays more or less than price times quantity."""
    faults = [
        f"{sale} comes to {format_cents(right)}, told was {format_cents(sale.total)}"
        for sale in history.sold
        if sale.total != (right := sum(item.price * item.quantity for item in sale.items))
    ]
    return judge("every total is the sum of its items", faults)


def nothing_is_oversold(history: History) -> Verdict:
    """Check that no more is promised than was there at the start."""
    stock = {product.name: product.stock for product in history.opening.products}
    left = dict(stock)
    faults, doubts = [], []
    for sale in history.sold:
        for name, quantity in quantities(sale.items).items():
            if name not in left:
                doubts.append(f"{sale}: {name} was not in the opening list")
                continue
            left[name] -= quantity
            if left[name] < 0:
                faults.append(f"{sale} is {-left[name]} beyond the {stock[name]} there were")
    faults += [
        f"{product.name}: {product.stock} left at the end"
        for product in history.final.products
        if product.stock < 0
    ]
    return judge("nothing is sold beyond the stock at the start", faults, doubts)


def stock_balances(history: History) -> Verdict:
    """Check that stock left and stock sold, by the order lists, is stock at the start."""
    opening = {product.name: product.stock for product in history.opening.products}
    final = {product.name: product.stock for product in history.final.products}
    sold = units(history.listed)
    others = bool(history.strangers or history.incomplete)
    faults, doubts = [], []
    for name in sorted(opening.keys() | final.keys()):
        if name not in opening or name not in final:
            doubts.append(f"{name} is not in both product lists")
            continue
        excess = final[name] + sold.get(name, 0) - opening[name]
        if excess < 0 and others:
            doubts.append(f"{name}: {-excess} are missing, which others may have bought")
        elif excess:
            faults.append(
                f"{name}: {opening[name]} at the start, {sold.get(name, 0)} sold, {final[name]} "
                f"left, which is {abs(excess)} too {'many' if excess > 0 else 'few'} "
                f"({newest_orders(history.listed, name)})"
            )
    return judge("stock left and stock sold make the stock at the start", faults, doubts)


def receipts_replay(history: History) -> Verdict:
    """Check that each order left what the one before it in the ledger left, less what it took.

    This finds the lost update, which no sum finds: two orders that both sell the last unit and
    both say that none is left.
    """
    replay = _Replay(history)
    for sale in history.sold:
        for name, quantity in quantities(sale.items).items():
            replay.step(sale, name, quantity)
    rule = "a replay in ledger order gives the stock that each order left"
    return judge(rule, replay.faults, replay.doubts)


class _Replay:
    """The stock of each product as the ledger goes on."""

    def __init__(self, history: History) -> None:
        self.faults: list[str] = []
        self.doubts: list[str] = []
        self._opening = history.opening.as_of
        self._left = {product.name: product.stock for product in history.opening.products}
        self._newest: dict[str, int] = {}
        self._gaps = [gap.start for gap in history.strangers]
        self._incomplete = bool(history.incomplete)

    def step(self, sale: Sale, name: str, quantity: int) -> None:
        """Take one product's part of an order, and go on from what the shop said is left."""
        told = {item.stock for item in sale.items if item.product_name == name}
        right = self._left.get(name, max(told) + quantity) - quantity
        if told != {right}:
            self._blame(sale, name, sorted(told), right)
        self._left[name] = min(told)
        self._newest[name] = sale.position

    def _blame(self, sale: Sale, name: str, told: list[int], right: int) -> None:
        previous = self._newest.get(name, self._opening)
        after = f"order {previous}" if name in self._newest else "the opening list"
        sentence = f"{sale} left {conjoin(told)} of {name}: after {after} it is {right}"
        if told[-1] > right or not self._others_between(previous, sale.position):
            self.faults.append(sentence)
        else:
            self.doubts.append(f"{sentence}, unless others bought in between")

    def _others_between(self, low: int, high: int) -> bool:
        """Tell whether somebody unknown may have bought after `low` and before `high`."""
        return self._incomplete or bisect_right(self._gaps, low) < bisect_right(self._gaps, high)
