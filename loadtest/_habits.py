"""Habits: what a shopper does, drawn by the workload's weights. Reads as a list of what is tried.

Knows no Locust: whoever has a customer of the shop can be given these habits.
"""

import random

from _buying import Customer, rearranged
from _requests import NO_PRODUCT, Items

BASKET_ITEMS_MAX = 3
BASKET_QUANTITY_MAX = 2
IN_ONE_GO_MAX = 5
RECENT_ORDERS = 20  # what one looks at of one's own, as on a first page


class Habits:
    """What a shopper does; each method is a task, and WORKLOADS has their weights."""

    shop: Customer
    hot: str
    """What nearly everybody wants."""
    seen: list[str]
    """What was in stock when the shopper looked last."""

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

    def wish(self) -> Items:
        """Return a few items."""
        count = random.randint(1, BASKET_ITEMS_MAX)  # noqa: S311
        names = random.choices(self.seen, k=count)  # noqa: S311
        if random.random() < 0.3:  # noqa: S311
            names.append(random.choice([self.hot, names[0]]))  # noqa: S311
        return tuple((name, random.randint(1, BASKET_QUANTITY_MAX)) for name in names)  # noqa: S311
