"""Options: what the load test adds to Locust's command line, and what their values mean.

Knows no socket and no run: a test drives it by calling it.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from _requests import line
from _slo import MISSED, Slo, parse
from _wishes import Spellings

from sportshop.catalogue import CatalogueError, read_rows
from sportshop.messages import FRAME_BYTES_MAX
from sportshop.names import same_form
from sportshop.users import NAME_CHARACTERS_MAX

if TYPE_CHECKING:  # importing Locust patches the sockets of whoever does
    from locust.argument_parser import LocustArgumentParser

HOST = "tcp://127.0.0.1:3333"
PORT = 3333
DEMO_USERS = ",".join(f"user{number}:senha" for number in range(1, 6))
HOT_PRODUCT = "Football"
HOT_STOCK_MIN = 1_000  # enough to last for some seconds
REQUEST_NAMES = (
    "NEW_ORDER_ITEM",
    "NEW_ORDER_ITEM accepted",
    "NEW_ORDER_ITEM refused",
    "NEW_ORDER_ITEM replayed",
    "GET_PRODUCTS",
    "GET_ORDERS",
    "AUTHENTICATION",
    "connect",
    "all",
)
INTENDED_NAMES = ("NEW_ORDER_ITEM", "GET_PRODUCTS", "GET_ORDERS", "unanswered", "all")
"""What latencies are measured of, from sending and from the intended start."""
WEIGHT_MAX = 1_000
RATE_MAX = 10_000_000
SENDABLE = f"expected text in UTF-8 that fits a message of {FRAME_BYTES_MAX:,} bytes"


class WrongUsage(ValueError):
    """A run that can't be as it was asked for: the message names the option."""


class Address(NamedTuple):
    """Where the shop listens."""

    host: str
    port: int


NOWHERE = Address("", 0)  # where a run goes that is called off


class Account(NamedTuple):
    """A customer of the shop. Several Locust users may share one."""

    user: str
    password: str


class Workload(NamedTuple):
    """How often a shopper does what: weights, as Locust's tasks have them.

    Each is the name of a method of `Shopper`; one more needs a line in WORKLOADS, if any has
    it, and one in DOES.
    """

    buy: int = 0
    browse: int = 0
    orders: int = 0
    basket: int = 0
    retry: int = 0
    reuse: int = 0
    pipeline: int = 0
    hang_up: int = 0
    unknown: int = 0


WORKLOADS = {
    # Everyone wants one product at once, and some can't believe that it is gone.
    "flash-sale": Workload(buy=92, browse=2, orders=1, basket=1, retry=2, pipeline=1, hang_up=1),
    "browsing-day": Workload(buy=10, browse=60, orders=20, basket=8, retry=1, reuse=1),
    "baskets": Workload(buy=10, browse=15, orders=5, basket=66, retry=3, reuse=1),
    "reconnect-storm": Workload(buy=20, browse=5, orders=5, basket=10, retry=5, hang_up=55),
    "mixed": Workload(
        buy=60, browse=15, orders=8, basket=8, retry=3, reuse=2, pipeline=2, hang_up=2, unknown=1
    ),
}
DOES = {
    "buy": "order one of the hot product",
    "browse": "look at the products",
    "orders": "look at one's newest orders",
    "basket": "order several items, some of them of one product",
    "retry": "order, and again with the same key, at once or later",
    "reuse": "order, and others with the same key, or with another user's key",
    "pipeline": "send several orders, or an order and a look, before the first answer",
    "hang_up": "drop the connection with an order in flight or half sent, come back and ask again",
    "unknown": "order a product that does not exist",
}


def add_options(parser: "LocustArgumentParser") -> None:
    """Add this load test's options to Locust's own."""
    parser.add_argument(
        "--workload",
        default="mixed",
        choices=list(WORKLOADS),
        help="What shoppers do; weights that are given change it. Default: mixed",
    )
    for name, value in DOES.items():
        parser.add_argument(
            f"--weight-{name.replace('_', '-')}",
            default="",
            metavar="<n>",
            help=f"How often to {value}",
        )
    parser.add_argument(
        "--hot-product",
        default="",
        metavar="<name>",
        help=f"Product that nearly everybody wants. Default: {HOT_PRODUCT}, or another in stock",
    )
    parser.add_argument(
        "--rate",
        default="",
        metavar="<n>",
        help="Open workload: arrivals per second over all workers. Default: closed, each waits",
    )
    parser.add_argument(
        "--slo",
        action="append",
        default=[],
        metavar="<objective>",
        help="Fail unless it is kept: 'NEW_ORDER_ITEM p99<50ms', 'errors<0.1%%',"
        " 'accepted>10000/s'. May be given several times",
        include_in_web_ui=False,
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="Nobody else uses the shop: a position that we don't know of is a fault",
    )
    for name, what in (
        ("history", "the record of the run, for `sportshop verify`"),
        ("report", "a page with charts and verdicts (HTML)"),
        ("summary", "the figures and verdicts (JSON)"),
    ):
        parser.add_argument(
            f"--{name}",
            default="",
            metavar="<file>",
            help=f"Write {what}",
            include_in_web_ui=False,
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


def workload(options: Namespace) -> Workload:
    """Return the weights that the options come to. Raises WrongUsage."""
    if options.workload not in WORKLOADS:
        raise WrongUsage(f"--workload: expected one of {', '.join(WORKLOADS)}")
    weights = WORKLOADS[options.workload]._asdict()
    for name in weights:
        text = str(getattr(options, f"weight_{name}", "") or "").strip()
        if text:
            flag = f"--weight-{name.replace('_', '-')}"
            if not text.isdecimal() or int(text) > WEIGHT_MAX:
                raise WrongUsage(f"{flag}: expected a number from 0 to {WEIGHT_MAX}, got {text!r}")
            weights[name] = int(text)
    if not any(weights.values()):
        raise WrongUsage("--weight-…: all are 0, so shoppers have nothing to do")
    return Workload(**weights)


def rate(options: Namespace) -> float:
    """Return the arrivals per second of an open workload, or 0. Raises WrongUsage."""
    text = str(options.rate or "").strip()
    if not text:
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= RATE_MAX:
        raise WrongUsage(
            f"--rate: expected arrivals per second, over 0 and up to {RATE_MAX:,}, got {text!r}"
        )
    return number


def objectives(options: Namespace) -> list[Slo]:
    """Return the objectives of the run, each of something that is measured. Raises WrongUsage."""
    try:
        wanted = [parse(text) for text in options.slo or []]
    except ValueError as problem:
        raise WrongUsage(f"--slo: {problem}") from None
    for slo in wanted:
        open_only = slo.intended or slo.measure == MISSED
        if open_only and getattr(options, "headless", True) and not rate(options):
            raise WrongUsage(f"--slo: {slo.text!r} needs --rate: without it no arrival is intended")
        known = INTENDED_NAMES if slo.intended else REQUEST_NAMES
        if slo.name not in known:
            raise WrongUsage(
                f"--slo: {slo.text!r}: there are no requests {slo.name!r}, only {', '.join(known)}"
            )
    return wanted


def parse_address(host: str | None) -> Address:
    """Read `--host`: tcp://HOST:PORT, HOST:PORT or HOST. Raises WrongUsage."""
    text = host or HOST
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        port = PORT if parts.port is None else parts.port
        (parts.hostname or "").encode("idna")  # as the resolver will, which knows no such error
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"", "tcp"} or not parts.hostname or not port or parts.path.strip("/"):
        raise WrongUsage(f"--host: expected tcp://HOST:PORT or HOST:PORT, got {text!r}")
    return Address(parts.hostname, port)


def accounts(options: Namespace) -> list[Account]:
    """Return the accounts that the options name, each user's once. Raises WrongUsage."""
    if options.shop_users_file:
        return _one_each(_accounts_in(Path(options.shop_users_file)))
    found = [Account(*pair.split(":", 1)) for pair in options.shop_users.split(",") if ":" in pair]
    wanted = len(options.shop_users.split(","))
    if len(found) < wanted or not all(account.user for account in found):
        raise WrongUsage("--shop-users: expected user:password, one or more, with commas between")
    if not all(map(_can_be_sent, found)):
        raise WrongUsage(f"--shop-users: {SENDABLE}")
    return _one_each(found)


def _one_each(found: Sequence[Account]) -> list[Account]:
    """Return each user's first account: to the shop a name in two forms is one customer."""
    first: dict[str, Account] = {}
    for account in found:
        first.setdefault(same_form(account.user, NAME_CHARACTERS_MAX) or account.user, account)
    return list(first.values())


def _can_be_sent(account: Account) -> bool:
    """Tell whether a shop can read the login: it rightly refuses what is no text, or too long."""
    try:
        return len(line("AUTHENTICATION", account._asdict())) <= FRAME_BYTES_MAX
    except UnicodeEncodeError:  # bytes of the command line that are not UTF-8
        return False


def _accounts_in(path: Path) -> list[Account]:
    """Read a CSV file as the shop reads its own; no error shows a password."""
    flag = "--shop-users-file"
    found = []
    try:
        for row in read_rows(path, Account._fields):
            account = Account(**row.cells)
            for column, value in account._asdict().items():
                if not value:
                    raise WrongUsage(f"{flag}: {path}, line {row.line}: no {column}")
            if not _can_be_sent(account):
                raise WrongUsage(f"{flag}: {path}, line {row.line}: {SENDABLE}")
            found.append(account)
    except CatalogueError as problem:
        told = str(problem).split(", found ")[0]  # what was found may be a password
        raise WrongUsage(f"{flag}: {told}") from None
    if not found:
        raise WrongUsage(f"{flag}: {path}: no account")
    return found


def hot_product(stock: Mapping[str, int], wanted: str) -> str:
    """Return what nearly everybody will want: `wanted`, or the default, or one that runs out.

    That is the scarcest product that lasts for some seconds. Raises WrongUsage if the shop does
    not have `wanted`, or nothing at all.
    """
    if wanted:
        return _own_name(stock, wanted)
    if not stock:
        raise WrongUsage("the shop has no products")
    if stock.get(HOT_PRODUCT, 0) > 0:
        return HOT_PRODUCT
    lasting = {name: left for name, left in stock.items() if left >= HOT_STOCK_MIN}
    return min(lasting, key=lasting.__getitem__) if lasting else max(stock, key=stock.__getitem__)


def _own_name(stock: Mapping[str, int], wanted: str) -> str:
    """Return the wanted product's name as the shop writes it. Raises WrongUsage."""
    names = Spellings()
    for name in stock:
        names.learn(name)
    own = names.of(wanted)
    if own not in stock:
        near = get_close_matches(wanted, stock, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise WrongUsage(f"--hot-product: the shop has no {wanted!r}{hint}")
    return own
