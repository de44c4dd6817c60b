"""Shoppers: the users of the load test. Start reading here.

    make serve                                   # a shop on 127.0.0.1:3333, and elsewhere
    locust -f loadtest/                          # with a web UI, or
    locust -f loadtest/ --headless -u 50 -r 50 -t 30s
    locust -f loadtest/ --host tcp://127.0.0.1:4444

Every shopper logs in, then goes on as fast as the shop answers: it browses, looks at its orders,
and above all buys, most often the product that everybody wants. Each request appears in Locust
under its code with its true latency; "sold out" is an answer and no failure.

When the run ends, an audit asks the shop what it sold and what it has left (sportshop.audit).
Exit codes: 3 the shop broke a rule, and the orders are named; 4 the audit could not decide;
1 requests failed; 0 all is well.
"""

import random

from _conductor import Conductor
from _options import HOST
from locust import User, constant, events, task
from locust.env import Environment

from sportshop.orders import Item
from sportshop.products import Product

BASKET_ITEMS_MAX = 3
BASKET_QUANTITY_MAX = 2

conductor = Conductor()
conductor.listen(events)


class ShopUser(User):
    """A Locust user who is a customer of the shop."""

    abstract = True
    host = HOST
    wait_time = constant(0)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.customer = conductor.customer(environment)
        self.hot = Item(conductor.hot_product(environment), 1)

    def on_start(self) -> None:
        """Log in. Patiently: an exception here would end this user for good."""
        self.customer.log_in()

    def on_stop(self) -> None:
        """Go home."""
        self.customer.leave()


class Hunter(ShopUser):
    """Wants the hot product and nothing else."""

    weight = 1

    @task
    def buy_the_hot_product(self) -> None:
        """Order one unit."""
        self.customer.buy(self.hot)


class Shopper(ShopUser):
    """Wants the hot product too, but also looks around."""

    weight = 3

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.seen: tuple[Product, ...] = ()

    @task(12)
    def buy_the_hot_product(self) -> None:
        """Order one unit."""
        self.customer.buy(self.hot)

    @task(4)
    def browse(self) -> None:
        """Look at the products in stock."""
        products = self.customer.browse()
        if products is not None:
            self.seen = products.products

    @task(2)
    def look_at_orders(self) -> None:
        """Look at the newest orders of one's own."""
        self.customer.look_at_orders()

    @task(2)
    def buy_a_basket(self) -> None:
        """Order several items at once; now and then two of them name the same product."""
        if not self.seen:
            return self.browse()
        count = random.randint(1, BASKET_ITEMS_MAX)  # noqa: S311 - a whim, not a secret
        chosen = random.choices(self.seen, k=count)  # noqa: S311
        wanted = [Item(product.name, random.randint(1, BASKET_QUANTITY_MAX)) for product in chosen]  # noqa: S311
        return self.customer.buy(*wanted)
