"""Options: what the load test adds to Locust's command line, and what their values mean.

Knows no socket and no run: a test drives it by calling it.
"""

import csv
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from locust.argument_parser import LocustArgumentParser

from sportshop.products import ProductList

HOST = "tcp://127.0.0.1:3333"
PORT = 3333
DEMO_USERS = ",".join(f"user{number}:senha" for number in range(1, 6))
HOT_PRODUCT = "Football"
HOT_STOCK_MIN = 1_000  # enough to last for some seconds


class Address(NamedTuple):
    """Where the shop listens."""

    host: str
    port: int


NOWHERE = Address("", 0)  # where a run goes that is called off


class Account(NamedTuple):
    """A customer of the shop. Several Locust users may share one."""

    user: str
    password: str


def add_options(parser: LocustArgumentParser) -> None:
    """Add this load test's options to Locust's own."""
    parser.add_argument(
        "--hot-product",
        default="",
        metavar="<name>",
        help=f"Product that nearly everybody wants. Default: {HOT_PRODUCT}, or another in stock",
    )
    # The web UI would show the passwords of these to everybody who can open it.
    parser.add_argument(
        "--shop-users",
        default=DEMO_USERS,
        metavar="<user:password,...>",
        help="Accounts that the shoppers share. Default: the five of the demo",
        include_in_web_ui=False,
    )
    parser.add_argument(
        "--shop-users-file",
        default="",
        metavar="<file>",
        help="The same as a CSV file with the columns user and password",
        include_in_web_ui=False,
    )


def parse_address(host: str | None) -> Address:
    """Read `--host`: tcp://HOST:PORT, HOST:PORT or HOST. Raises ValueError."""
    text = host or HOST
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        port = PORT if parts.port is None else parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"", "tcp"} or not parts.hostname or not port or parts.path.strip("/"):
        raise ValueError(f"--host: expected tcp://HOST:PORT or HOST:PORT, got {text!r}")
    return Address(parts.hostname, port)


def accounts(options: Namespace) -> list[Account]:
    """Return the accounts that the options name, at least one. Raises ValueError, OSError."""
    if options.shop_users_file:
        with Path(options.shop_users_file).open(encoding="utf-8", newline="") as lines:
            found = [Account(row["user"], row["password"]) for row in csv.DictReader(lines)]
    else:
        pairs = (pair.partition(":") for pair in options.shop_users.split(","))
        found = [Account(user, password) for user, _, password in pairs if user]
    if not found:
        raise ValueError("--shop-users: expected one account or more")
    return found


def hot_product(opening: ProductList, wanted: str) -> str:
    """Return what nearly everybody will want: `wanted`, or the default, or one that runs out.

    That is the scarcest product that lasts for some seconds. Raises ValueError if the shop does
    not have `wanted`, or nothing at all.
    """
    stock = {product.name: product.stock for product in opening.products}
    if wanted:
        if wanted not in stock:
            raise ValueError(f"--hot-product: the shop has no {wanted!r}")
        return wanted
    if not stock:
        raise ValueError("the shop has no products")
    if stock.get(HOT_PRODUCT, 0) > 0:
        return HOT_PRODUCT
    lasting = {name: left for name, left in stock.items() if left >= HOT_STOCK_MIN}
    return min(lasting, key=lasting.__getitem__) if lasting else max(stock, key=stock.__getitem__)
