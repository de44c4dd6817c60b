"""Visits: customers in a shop, who leave when the visit ends."""

from typing import Any

from tests.system.conftest import Talk, request
from tests.system.plain_shop import PASSWORD


class Customer(Talk):
    """Somebody who is logged in."""

    def __init__(self, address: str, **credentials: str) -> None:
        host, _, port = address.partition(":")
        super().__init__(host, int(port))
        answer = self.ask("AUTHENTICATION", **credentials)
        assert answer["code"] == "SUCCESS", answer
        self.token = answer["data"]["token"]

    def buy(self, *items: tuple[str, int], **more: str) -> dict[str, Any]:
        """Return the data of the receipt or of the refusal."""
        self.send_bytes(order(*items, **more))
        return self.answer()["data"]

    def buy_each(self, *names: str) -> list[dict[str, Any]]:
        """Order one unit of each, each in an order of its own."""
        return [self.buy((name, 1)) for name in names]

    def products(self) -> dict[str, Any]:
        return self.ask("GET_PRODUCTS", soldOut=True)["data"]

    def listed(self, **wanted: int) -> list[int]:
        """Return the numbers of the orders in a list."""
        return [one["order"] for one in self.ask("GET_ORDERS", **wanted)["data"]["orders"]]


class Visit:
    """A shop with customers in it, who leave when the visit ends."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.customers: list[Customer] = []

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        for customer in self.customers:
            customer.socket.close()

    def login(self, user: str = "user1") -> Customer:
        return self._enter(user=user, password=PASSWORD)

    def login_again(self, customer: Customer) -> Customer:
        return self._enter(token=customer.token)

    def _enter(self, **credentials: str) -> Customer:
        self.customers.append(Customer(self.address, **credentials))
        return self.customers[-1]


def order(*items: tuple[str, int], **more: str) -> bytes:
    lines = [
        request("NEW_ORDER_ITEM", number == len(items), productName=name, quantity=n, **more)
        for number, (name, n) in enumerate(items, 1)
    ]
    return b"".join(lines)


def left(answer: dict[str, Any]) -> list[int]:
    return [item["stockQuantity"] for item in answer.get("items", ())]
