"""Audit: what the shop says before and after a run, and what follows from it all.

It asks by the public protocol only, as any customer could. The final product list is read before
the order lists, so that whatever it counts is in them. Knows no Locust.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from _answers import OrdersPage, read_orders, read_products
from _measured import exchange
from _options import Account, Address
from _tally import Tally

from sportshop.audit import History, Listing, Sale, Verdict, audit
from sportshop.audit.verdict import judge
from sportshop.client import (
    Client,
    InvalidCredentials,
    ProtocolViolation,
    ShopError,
    connect,
)
from sportshop.client.deadline import pause_s
from sportshop.messages import ORDERS_LIMIT_MAX, Code
from sportshop.products import ProductList

OPENING_S_MAX = 15.0  # a shop that is being started together with the test is up by then
CLOSING_S_MAX = 15.0  # per list: a shop that crashed and is being restarted, likewise
ANSWER_S_MAX = 60.0  # for a page of 1,000 orders from a shop that is still busy
_T = TypeVar("_T")


class Audit:
    """The books of one run: opened before the first order, closed after the last."""

    def __init__(self, address: Address, accounts: Sequence[Account]) -> None:
        self._address = address
        self._passwords = dict(accounts)
        self._opening: ProductList | None = None

    def open(self) -> ProductList:
        """Note what there is, sold out or not. Raises ShopError if the shop does not tell."""
        user = next(iter(self._passwords))
        self._opening = self._ask(user, None, OPENING_S_MAX, _everything)
        return self._opening

    def close(self, tally: Tally, incomplete: Sequence[str]) -> list[Verdict]:
        """Return the verdicts. `incomplete`: why the tally is not the whole story, if it is not."""
        try:
            history = self._history(tally, list(incomplete))
        except ShopError as problem:
            reason = f"the shop no longer answers: {problem}"
        else:
            if history is not None:
                return audit(history)
            reason = "the stock at the start is not known"
        return [undecided(reason, *incomplete)]

    def _history(self, tally: Tally, incomplete: list[str]) -> History | None:
        if self._opening is None:
            return None
        if not tally.sales and not tally.sold_out.n:
            incomplete.append("no order was answered")
        customers = sorted(tally.tokens)
        anybody = next(iter(customers), next(iter(self._passwords)))
        final = self._ask(anybody, tally.tokens.get(anybody), CLOSING_S_MAX, _everything)
        listings = {}
        for user in customers:
            try:
                listings[user] = self._listing(user, tally.tokens[user], self._opening.as_of)
            except ShopError as problem:
                incomplete.append(f"the order list of {user} could not be read: {problem}")
        return History(
            opening=self._opening,
            final=final,
            acknowledged=tally.sales,
            listings=listings,
            unsettled=list(tally.unsettled.values()),
            misserved=tally.misserved,
            key_tags=frozenset({tally.tag}),
            incomplete=incomplete,
        )

    def _listing(self, user: str, token: str, since: int) -> Listing:
        return self._ask(
            user, token, CLOSING_S_MAX, lambda client: _orders_after(client, user, since)
        )

    def _ask(
        self, user: str, token: str | None, patience_s: float, ask: Callable[[Client], _T]
    ) -> _T:
        """Ask as the user, again until it works or patience runs out. Raises ShopError."""
        gives_up_at = time.monotonic() + patience_s
        failures = 0
        while True:
            try:
                with connect(*self._address, timeout_s=ANSWER_S_MAX) as client:
                    self._log_in(client, user, token)
                    return ask(client)
            except (InvalidCredentials, ProtocolViolation):
                raise
            except ShopError:
                failures += 1
                pause = pause_s(failures)
                if time.monotonic() + pause > gives_up_at:
                    raise
            time.sleep(pause)

    def _log_in(self, client: Client, user: str, token: str | None) -> None:
        if token is not None:
            try:
                client.authenticate_token(token)
            except InvalidCredentials:
                pass
            else:
                return
        client.authenticate(user, self._passwords[user])


def undecided(*reasons: str) -> Verdict:
    """Return the verdict on a run of which there is no record."""
    return judge("there is a record of the run", (), reasons)


def _everything(client: Client) -> ProductList:
    return read_products(exchange(client, Code.GET_PRODUCTS, [{"soldOut": True}]))


def _orders_after(client: Client, user: str, since: int) -> Listing:
    """Read a user's order list from its newest order down to position `since`."""
    sales: list[Sale] = []
    as_of = None
    before: dict[str, int] = {}
    while True:
        page = _orders_page(client, user, before)
        as_of = page.as_of if as_of is None else min(as_of, page.as_of)
        sales += page.sales
        if not page.sales or page.sales[-1].position <= max(since, 1):
            return Listing(as_of, tuple(sales))
        if before and page.sales[-1].position >= before["before"]:
            raise ProtocolViolation("a list of orders that does not go down")
        before = {"before": page.sales[-1].position}


def _orders_page(client: Client, user: str, before: dict[str, int]) -> OrdersPage:
    wanted = {**before, "limit": ORDERS_LIMIT_MAX}
    return read_orders(exchange(client, Code.GET_ORDERS, [wanted]), user)
