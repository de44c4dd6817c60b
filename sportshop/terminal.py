"""Terminal: a customer's visit, from the menu to the receipt.

Lost connections are for the client to mend; what it cannot mend is told in one sentence, and the
visit goes on. Knows neither sockets (client) nor how things look (display.py).
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

from sportshop.client import (
    Client,
    OutcomeUnknown,
    Product,
    ProductList,
    Receipt,
    ShopError,
    new_order_key,
)
from sportshop.client.checks import composed
from sportshop.display import (
    clean,
    deliver,
    is_terminal,
    say,
    sentence,
    show_orders,
    show_products,
    show_receipt,
)

ORDERS_AT_ONCE = 20
_ORDERS_LIMIT = 100
_QUANTITY_LIMIT = 1_000_000


class Visit:
    """A visit of a customer who has logged in. Reads standard input."""

    def __init__(self, customer: Client) -> None:
        self._customer = customer
        self._actions: dict[str, Callable[[], object]] = {
            "orders": self.see_orders,
            "products": self.see_products,
            "buy": self.buy,
        }

    def run(self) -> None:
        """Do what is asked until the customer leaves: by quit, ctrl-D or ctrl-C."""
        session = self._customer.session
        if session is not None:
            say(f"Welcome to {session.server}, {session.user}.")
        try:
            while self._take_one_choice():
                pass
        except (EOFError, KeyboardInterrupt):
            say()
        say("Goodbye.")

    def _take_one_choice(self) -> bool:
        choices = [*self._actions, "quit"]
        menu = "   ".join(f"{number} {name}" for number, name in enumerate(choices, 1))
        say()
        choice = _choose(ask(f"{menu}\n> "), choices)
        if choice == "quit":
            return False
        if choice is None:
            say(f"Give a number from 1 to {len(choices)}, or a name.")
            return True
        try:
            self._actions[choice]()
        except ShopError as problem:
            say(f"Sorry: {sentence(problem, self._customer)}.")
        return True

    def see_orders(self) -> None:
        """Show the customer's orders, newest first, as many at once as fit a screen."""
        before = None
        while True:
            orders = self._customer.orders(before=before, limit=ORDERS_AT_ONCE)
            if not orders.orders:
                say("There are no orders yet." if before is None else "These were all.")
                return
            show_orders(orders)
            before = orders.orders[-1].order
            if len(orders) < ORDERS_AT_ONCE or before == 1 or not agrees("Older ones?"):
                return

    def see_products(self) -> ProductList:
        """Show all products, also those that are sold out."""
        products = self._customer.products(sold_out=True)
        show_products(products)
        return products

    def buy(self) -> None:
        """Fill a basket and place it as one order, or nothing."""
        products = self.see_products()
        basket: dict[str, int] = {}
        prices = {product.name: product.price for product in products}
        while (chosen := self._choose_product(products, basket)) is not None:
            basket[chosen.name] = basket.get(chosen.name, 0) + ask_quantity()
            total = sum((prices[name] * count for name, count in basket.items()), Decimal())
            say("Basket: " + ", ".join(f"{count} {name}" for name, count in basket.items()))
            say(f"Total: {total}")
        if basket and agrees("Place this order?"):
            self._place(list(basket.items()))

    def _choose_product(self, products: ProductList, basket: dict[str, int]) -> Product | None:
        """Return what goes into the basket next; None: it is full enough."""
        if len(basket) == _ORDERS_LIMIT:
            say(f"An order can have {_ORDERS_LIMIT} products, and this one has.")
            return None
        end = "to order" if basket else "to go back"
        with completing([product.name for product in products]):
            while answer := ask(f"Product, by name or number (empty {end}): "):
                product = find_product(answer, products.products)
                if product is not None and product.stock:
                    return product
                gone = "sold out" if product is not None else "not a product"
                say(f"{product.name if product else answer} is {gone}.")
        return None

    def _place(self, items: Sequence[tuple[str, int]]) -> None:
        """Place the order. Where the outcome is not known, ask again under the same key."""
        key = new_order_key()
        while True:
            receipt = self._try_to_place(items, key)
            if receipt is not None:
                deliver(receipt, show_receipt)
                return
            if not agrees("Ask the shop again? It will not be ordered twice."):
                say("Your orders will show whether it was placed.")
                return

    def _try_to_place(self, items: Sequence[tuple[str, int]], key: str) -> Receipt | None:
        try:
            return self._customer.order(items, key=key)
        except OutcomeUnknown as problem:
            say(f"Sorry: {sentence(problem, self._customer)}.")
            return None
        except KeyboardInterrupt:
            say("Your order may have been placed, or not: your orders will show it.")
            raise


def find_product(answer: str, products: Sequence[Product]) -> Product | None:
    """Return the product of that name, or of the nearest, or of that number.

    Nearest is first the same name in another form (see names.py), then one that differs in case.
    """
    for form in (str, composed, _folded):
        alike = [product for product in products if form(product.name) == form(answer)]
        if len(alike) == 1:
            return alike[0]
    number = _number(answer)
    return products[number - 1] if number is not None and number <= len(products) else None


def _folded(name: str) -> str:
    return composed(name).casefold()


# Asking.


def ask(question: str) -> str:
    """Return one line of standard input, stripped. Raises EOFError, KeyboardInterrupt."""
    try:
        return input(question).strip()
    except UnicodeDecodeError:
        return "\N{REPLACEMENT CHARACTER}"  # not text, so nothing that could be meant


def ask_quantity() -> int:
    """Ask until there is a number; an empty line is 1."""
    while True:
        number = _number(ask("How many? [1] ") or "1")
        if number is not None and number <= _QUANTITY_LIMIT:
            return number
        say(f"Give a number from 1 to {_QUANTITY_LIMIT}.")


def agrees(question: str) -> bool:
    """Ask a question to be answered by yes or no; an empty line is yes."""
    while True:
        answer = ask(f"{question} [Y/n] ").lower()
        if answer in {"", "y", "yes"}:
            return True
        if answer in {"n", "no"}:
            return False


def _choose(answer: str, choices: Sequence[str]) -> str | None:
    """Return the choice of that number, or the only one that begins so."""
    number = _number(answer)
    if number is not None:
        return choices[number - 1] if number <= len(choices) else None
    fitting = [choice for choice in choices if answer and choice.startswith(answer.lower())]
    return fitting[0] if len(fitting) == 1 else None


def _number(text: str) -> int | None:
    """Return a whole number from 1 to 10 digits, or None."""
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) > 0:
        return int(text)
    return None


# Completion.


@contextmanager
def completing(names: Sequence[str]) -> Iterator[None]:
    """Let Tab complete names meanwhile, where a person types and the platform can."""
    if not (sys.stdin.isatty() and is_terminal()):
        yield
        return
    try:
        # Only here: importing it is enough to change what the terminal does.
        readline = importlib.import_module("readline")
    except ImportError:
        yield
        return
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    delimiters = readline.get_completer_delims()
    readline.set_completer_delims("")  # names have spaces in them
    readline.set_completer(completer(names))
    try:
        yield
    finally:
        readline.set_completer(None)
        readline.set_completer_delims(delimiters)


def completer(names: Sequence[str]) -> Callable[[str, int], str | None]:
    """Return readline's completer: the n-th name that begins with a text, whatever the case."""
    typeable = [name for name in names if clean(name) == name]

    def complete(text: str, state: int) -> str | None:
        fitting = [name for name in typeable if _folded(name).startswith(_folded(text))]
        return fitting[state] if state < len(fitting) else None

    return complete
