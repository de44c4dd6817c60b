"""Customer: what one shopper does in the shop, however often the connection breaks.

An order whose answer is lost is asked again with its key, over a new connection, until its
outcome is known; what nobody came to know is in the tally. Knows nothing of clocks and Locust's
statistics, which are `_measured`'s business.
"""

import itertools
import time
from contextlib import suppress
from typing import TypeVar

from _answers import read_order, read_orders, read_products, read_token
from _measured import Lines, MeasuredClient, Read, Report
from _options import Account, Address
from _tally import Tally
from locust.exception import StopUser

from sportshop.audit import Asked, Sale
from sportshop.client import Client, InvalidCredentials, ShopError
from sportshop.client.attempts import Attempts
from sportshop.client.deadline import pause_s
from sportshop.messages import Code
from sportshop.orders import Item
from sportshop.products import ProductList

ANSWER_S_MAX = 30.0  # a shop that needs longer has failed, as far as a customer can tell
ORDER_ATTEMPTS = 8  # over lost connections: with the pauses longer than a shop's restart takes
RECENT_ORDERS = 20  # what one looks at of one's own, as on a first page
_T = TypeVar("_T")


class Customer:
    """A customer who is logged in, or tries to be. Not for two greenlets at once."""

    def __init__(self, address: Address, account: Account, tally: Tally, report: Report) -> None:
        self._shop = MeasuredClient(Client(*address, timeout_s=ANSWER_S_MAX), report)
        self._account = account
        self._tally = tally
        self._token: str | None = None

    def log_in(self) -> None:
        """Connect and log in, however often it takes.

        Raises StopUser if the shop refuses the account: there no patience helps.
        """
        for failures in itertools.count(1):
            try:
                self._shop.connect()
                self._authenticate()
            except InvalidCredentials:
                self._shop.close()
                if self._token is None:
                    raise StopUser from None
                self._token = None  # it has served its 12 hours, or the shop was restarted
            except ShopError:
                self._shop.close()
                time.sleep(pause_s(failures))
            else:
                return

    def browse(self) -> ProductList | None:
        """Look at the products in stock. Returns None if that failed."""
        with suppress(ShopError):
            return self._ask(Code.GET_PRODUCTS, [{}], read_products)
        return None

    def look_at_orders(self) -> None:
        """Look at the newest of one's own orders."""
        user = self._account.user
        with suppress(ShopError):
            self._ask(
                Code.GET_ORDERS,
                [{"limit": RECENT_ORDERS}],
                lambda answers: read_orders(answers, user),
            )

    def buy(self, *items: Item) -> None:
        """Order the items, and see to it that the outcome becomes known."""
        asked = Asked(self._account.user, self._tally.new_key(), items)
        attempts = Attempts(ORDER_ATTEMPTS, repeatable=True)
        self._tally.begin(asked)
        while True:
            self._return()
            attempts.begin()
            attempts.sending()
            try:
                return self._order(asked)
            except ShopError as problem:
                pause = attempts.failed(problem)
            if pause is None:
                break
            time.sleep(pause)
        if not attempts.in_doubt:
            self._tally.refuse(asked)
        return None

    def leave(self) -> None:
        """Hang up."""
        self._shop.close()

    def _order(self, asked: Asked) -> None:
        """Ask once. Raises ShopError if the answer is a failure, or is none."""
        lines = [
            {"productName": item.product_name, "quantity": item.quantity, "orderKey": asked.key}
            for item in asked.items
        ]
        outcome = self._ask(
            Code.NEW_ORDER_ITEM, lines, lambda answers: read_order(answers, asked.user, asked.key)
        )
        if isinstance(outcome, Sale):
            self._tally.sell(asked, outcome)
        else:
            self._tally.turn_away(asked)

    def _ask(self, code: Code, lines: Lines, read: Read[_T]) -> _T:
        """Make a request as somebody who is logged in. Raises ShopError."""
        self._return()
        return self._shop.ask(code, lines, read)

    def _return(self) -> None:
        if not self._shop.is_connected:
            self.log_in()

    def _authenticate(self) -> None:
        """Log in with the token, which costs the shop little, or else with the password."""
        user, password = self._account
        by_password = {"user": user, "password": password}
        credentials = by_password if self._token is None else {"token": self._token}
        self._token = self._shop.ask(Code.AUTHENTICATION, [credentials], read_token)
        self._tally.logged_in(user, self._token)
