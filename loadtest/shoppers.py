"""Shoppers: the users of the load test. Start reading here.

    make serve                                   # a shop on 127.0.0.1:3333; in another terminal
    locust -f loadtest/                          # with a web UI, or
    locust -f loadtest/ --headless -u 50 -r 50 -t 30s --workload flash-sale
    locust -f loadtest/ --host tcp://127.0.0.1:4444 --headless -u 500 --rate 2000 -t 1m

Every shopper logs in, then goes on as fast as the shop answers or, with --rate, when it is his
turn. What he does is drawn by the workload's weights: he buys, most often the product that
everybody wants, browses, looks at his orders; and he does what breaks careless shops: orders again
with the same key, changes his mind under the same key, orders without waiting, breaks off an order
and hangs up, comes back, and wants what does not exist. "Sold out" is an answer and no failure.

When the run ends, an audit replays everything that the shop answered (sportshop.audit).
Exit codes: 3 the shop broke a rule, and the operations are named; 4 the audit could not decide;
5 an objective (--slo) was missed; 1 requests failed; 2 wrong usage; 0 all is well.
"""

import random

from _buying import rearranged
from _options import Workload
from _requests import NO_PRODUCT, Items
from _shop_user import ShopUser, conductor
from locust.env import Environment

BASKET_ITEMS_MAX = 3
BASKET_QUANTITY_MAX = 2
IN_ONE_GO_MAX = 5
RECENT_ORDERS = 20  # what one looks at of one's own, as on a first page


class Shopper(ShopUser):
    """Does what the workload says."""

    follows_workload = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        weights: Workload = conductor.workload()
        self.tasks = [
            getattr(type(self), name)
            for name, weight in weights._asdict().items()
            for _ in range(weight)
        ]

    def buy(self) -> None:
        """Order one of the hot product."""
        self.shop.buy(((self.hot, 1),))

    def browse(self) -> None:
        """Look at the products in stock; now and then also at what is gone."""
        products = self.shop.products(sold_out=random.random() < 0.1)  # noqa: S311 - a whim
        if products:
            self.seen = [name for name, (_, stock) in products.items() if stock > 0] or self.seen

    def orders(self) -> None:
        """Look at the newest orders of one's own."""
        self.shop.orders(RECENT_ORDERS)

    def basket(self) -> None:
        """Order several items at once; now and then two of them name the same product."""
        self.shop.buy(self.wish())

    def retry(self) -> None:
        """Order again with the same key, at once or a while later: it may not sell twice."""
        if random.random() < 0.5 and self.shop.buy_old_again():  # noqa: S311
            return
        wish = self.wish()
        self.shop.buy_again(wish, rearranged(wish) if random.random() < 0.5 else wish)  # noqa: S311

    def reuse(self) -> None:
        """Order something else with the same key: that is refused, unless it is another user's."""
        wish = self.wish()
        if random.random() < 0.25 and self.shop.buy_with_anothers_key(wish):  # noqa: S311
            return
        name, quantity = wish[0]
        others = [other for other in self.seen if other != name]
        changed = (name, quantity + 1)
        if others and random.random() < 0.5:  # noqa: S311
            changed = (random.choice(others), quantity)  # noqa: S311
        self.shop.buy_again(wish, (changed, *wish[1:]))

    def pipeline(self) -> None:
        """Send several orders, or an order and a look, and only then read the answers."""
        if random.random() < 0.5:  # noqa: S311
            return self.shop.buy_and_look(self.wish(), random.choice([0, RECENT_ORDERS]))  # noqa: S311
        count = random.randint(2, IN_ONE_GO_MAX)  # noqa: S311
        wishes = [((self.hot, 1),), *(self.wish() for _ in range(count - 1))]
        return self.shop.buy_in_one_go(wishes)

    def hang_up(self) -> None:
        """Drop the connection with an order in flight, or half sent, log in, ask again."""
        if random.random() < 0.25:  # noqa: S311
            return self.shop.break_off((*self.wish(), (self.hot, 1)))
        return self.shop.buy_and_hang_up(self.wish())

    def unknown(self) -> None:
        """Order a product that does not exist, alone or behind others: nothing is sold."""
        others = self.wish() if random.random() < 0.5 else ()  # noqa: S311
        self.shop.buy((*others, (NO_PRODUCT, 1)))

    tasks = [buy]  # noqa: RUF012 - Locust warns of a class without; each shopper has his own

    def wish(self) -> Items:
        """Return a few items."""
        count = random.randint(1, BASKET_ITEMS_MAX)  # noqa: S311
        names = random.choices(self.seen, k=count)  # noqa: S311
        if random.random() < 0.3:  # noqa: S311
            names.append(random.choice([self.hot, names[0]]))  # noqa: S311
        return tuple((name, random.randint(1, BASKET_QUANTITY_MAX)) for name in names)  # noqa: S311
