"""Commands: what a customer can do from the command line; cli.py attaches them.

A password is never an argument, which every user of the machine could read: it comes from
SPORTSHOP_PASSWORD, from standard input, or is asked for. Exit codes: 0, or 1 where the shop
refused or could not be reached (one line on stderr), or 2 for wrong usage.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from sportshop import display, streams
from sportshop.arguments import NOTICES, Host, Port, Seconds, Text, without_line_end
from sportshop.client import (
    Client,
    InvalidCredentials,
    OutcomeUnknown,
    Receipt,
    ShopError,
    new_order_key,
)
from sportshop.display import Failed
from sportshop.messages import ORDERS_LIMIT_MAX
from sportshop.orders import KEY_CHARACTERS_MAX, QUANTITY_MAX
from sportshop.terminal import Visit

LOGIN_TRIES = 3
PASSWORD_CHARACTERS_MAX = 10_000  # so that its message fits a frame; /dev/zero has no line end
_Command = Callable[..., Any]


class Access(NamedTuple):
    """Where the shop is, and who comes."""

    host: str
    port: int
    timeout_s: float
    user: str | None
    password_stdin: bool
    password: str | None


_ACCESS_OPTIONS = (
    click.option(
        "--host",
        type=Host(listens=False),
        default="127.0.0.1",
        envvar="SPORTSHOP_HOST",
        show_envvar=True,
        show_default=True,
        help="Address of the shop.",
    ),
    click.option(
        "--port",
        type=Port(1, 65535),
        default=3333,
        envvar="SPORTSHOP_PORT",
        show_envvar=True,
        show_default=True,
        help="Port of the shop.",
    ),
    click.option(
        "--user",
        type=Text(),
        envvar="SPORTSHOP_USER",
        show_envvar=True,
        help="Who you are; asked for if it is left out.",
    ),
    click.option(
        "--password-stdin",
        is_flag=True,
        help="Read the password from the first line of standard input, "
        "in place of SPORTSHOP_PASSWORD or a prompt.",
    ),
    click.option(
        "--timeout-seconds",
        "timeout_s",
        type=Seconds(0.001, 3600),
        default=10.0,
        envvar="SPORTSHOP_TIMEOUT_SECONDS",
        show_envvar=True,
        show_default=True,
        help="Seconds to wait for an answer, with every attempt to get one.",
    ),
)


def _customer_command(command: _Command) -> _Command:
    """Add the options that say where the shop is and who comes, as one argument `access`."""

    @functools.wraps(command)
    def with_access(**given: Any) -> None:
        access = Access(
            **{name: given.pop(name) for name in Access._fields if name in given},
            password=without_line_end(os.environ.get("SPORTSHOP_PASSWORD", "")) or None,
        )
        for notice in click.get_current_context().meta.get(NOTICES, ()):
            streams.tell(notice)
        command(access=access, **given)

    for option in reversed(_ACCESS_OPTIONS):
        with_access = option(with_access)
    return with_access


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.command()
@_customer_command
def shop(access: Access) -> None:
    """Visit the shop: see products and past orders, and buy, from a menu."""
    try:
        with _client(access) as customer:
            _log_in_patiently(customer, access)
            Visit(customer).run()
    except (click.Abort, EOFError, KeyboardInterrupt):
        display.say()
        display.say("Goodbye.")


@click.command()
@_customer_command
@click.option("--sold-out", is_flag=True, help="Also those of which none are left.")
@_json_option
def products(access: Access, sold_out: bool, as_json: bool) -> None:
    """List the products."""
    with _logged_in(access) as customer:
        found = customer.products(sold_out)
    if as_json:
        display.show_json(display.products_document(found))
    else:
        display.show_products(found)


@click.command()
@_customer_command
@click.option("--before", type=click.IntRange(1), help="Only orders numbered below this.")
@click.option("--limit", type=click.IntRange(1, ORDERS_LIMIT_MAX), help="At most so many.")
@_json_option
def orders(access: Access, before: int | None, limit: int | None, as_json: bool) -> None:
    """List your orders, newest first."""
    with _logged_in(access) as customer:
        found = customer.orders(before, limit)
    if as_json:
        display.show_json(display.orders_document(found))
    else:
        display.show_orders(found)


def _split_items(
    _context: click.Context, _option: click.Parameter, given: Sequence[str]
) -> list[tuple[str, int]]:
    return [_split_item(text) for text in given]


def _split_item(text: str) -> tuple[str, int]:
    """Read NAME=QUANTITY; the name may have = in it."""
    name, _, digits = text.rpartition("=")
    if name and digits.isascii() and digits.isdigit() and len(digits) <= len(str(QUANTITY_MAX)):
        quantity = int(digits)
        if 1 <= quantity <= QUANTITY_MAX:
            return name, quantity
    raise click.BadParameter(
        f"expected NAME=QUANTITY, the quantity from 1 to {QUANTITY_MAX}, found {text!r}"
    )


def _check_key(_context: click.Context, _option: click.Parameter, key: str | None) -> str | None:
    if key is None or (key.isascii() and key.isprintable() and 1 <= len(key) <= KEY_CHARACTERS_MAX):
        return key
    raise click.BadParameter(f"expected 1 to {KEY_CHARACTERS_MAX} printable ASCII characters")


@click.command()
@click.argument("name", required=False)
@_customer_command
@click.option(
    "--quantity", type=click.IntRange(1, QUANTITY_MAX), help="Units of NAME.  [default: 1]"
)
@click.option(
    "--item",
    "items",
    metavar="NAME=QUANTITY",
    multiple=True,
    callback=_split_items,
    help="A product and how many of it; give it again for more in the same order.",
)
@click.option(
    "--key",
    callback=_check_key,
    help="Makes it safe to ask again: the same key and items are never ordered twice. "
    "One is made if it is left out, and told where it is needed.",
)
@_json_option
def buy(
    access: Access,
    name: str | None,
    quantity: int | None,
    items: Sequence[tuple[str, int]],
    key: str | None,
    as_json: bool,
) -> None:
    """Order the product NAME, or the products of --item, or both: all of it or nothing."""
    if name is None and quantity is not None:
        raise click.UsageError("--quantity is of NAME: give NAME, or --item NAME=QUANTITY")
    wanted = [*([] if name is None else [(name, quantity or 1)]), *items]
    if not wanted:
        raise click.UsageError("give NAME, or --item NAME=QUANTITY")
    with _logged_in(access) as customer:
        receipt = _order(customer, wanted, key or new_order_key())
    display.deliver(receipt, _show_json if as_json else display.show_receipt)


def _show_json(receipt: Receipt) -> None:
    display.show_json(display.receipt_document(receipt))


def _order(customer: Client, items: Sequence[tuple[str, int]], key: str) -> Receipt:
    """Order. Whatever leaves the outcome open, tell the key that settles it."""
    advice = f"ask again with --key {key}"
    try:
        return customer.order(items, key=key)
    except ValueError as problem:
        raise click.UsageError(display.clean(f"not a product's name: {problem}")) from None
    except OutcomeUnknown as problem:
        raise Failed(f"{display.sentence(problem, customer)}: {advice}") from None
    except KeyboardInterrupt:
        raise Failed(f"interrupted, the order may have been placed, or not: {advice}") from None


# Logging in.


def _client(access: Access) -> Client:
    return Client(access.host, access.port, timeout_s=access.timeout_s)


@contextmanager
def _logged_in(access: Access) -> Iterator[Client]:
    """Log in; turn what goes wrong meanwhile into the command's failure."""
    user, password = _user(access), _password(access)
    with _client(access) as customer:
        try:
            _authenticate(customer, user, password)
            yield customer
        except ShopError as problem:
            raise Failed(display.sentence(problem, customer)) from None


def _log_in_patiently(customer: Client, access: Access) -> None:
    """Log in; a person who mistypes the password may try again."""
    user = _user(access)
    for tries_left in reversed(range(LOGIN_TRIES)):
        try:
            _authenticate(customer, user, _password(access))
            return
        except InvalidCredentials as problem:
            said = display.sentence(problem, customer)
            if not (tries_left and _is_asked_for(access)):
                raise Failed(said) from None
            display.say(f"Sorry: {said}.")
        except ShopError as problem:
            raise Failed(display.sentence(problem, customer)) from None


def _authenticate(customer: Client, user: str, password: str) -> None:
    try:
        customer.authenticate(user, password)
    except ValueError:
        raise click.UsageError("the user or the password is not text in UTF-8") from None


def _is_asked_for(access: Access) -> bool:
    return access.password is None and not access.password_stdin


def _user(access: Access) -> str:
    if access.user:
        return access.user
    if not _can_ask():
        raise click.UsageError("no user: give --user or set SPORTSHOP_USER")
    return asked_for("User", err=True)


def _password(access: Access) -> str:
    if access.password_stdin:
        return first_line()
    if access.password is not None:
        return access.password
    if not _can_ask():
        raise click.UsageError("no password: set SPORTSHOP_PASSWORD or give --password-stdin")
    return asked_for("Password", hide_input=True, err=True)


def asked_for(
    what: str, *, hide_input: bool = False, twice: bool = False, err: bool = False
) -> str:
    """Return what a person types at a prompt; it is not empty. Raises UsageError, Abort."""
    try:
        answer: str = click.prompt(what, hide_input=hide_input, confirmation_prompt=twice, err=err)
        answer.encode()  # bytes that are no text may have come as lone surrogates
    except UnicodeError:
        raise click.UsageError(f"the {what.lower()} that was typed is not text in UTF-8") from None
    return answer


def first_line() -> str:
    """Return the password on the first line of standard input. Raises UsageError."""
    try:
        line = sys.stdin.readline(PASSWORD_CHARACTERS_MAX + 1)
        line.encode()
    except UnicodeError:
        raise click.UsageError("the password on standard input is not text in UTF-8") from None
    if len(line) > PASSWORD_CHARACTERS_MAX:
        raise click.UsageError(
            f"the first line of standard input has over {PASSWORD_CHARACTERS_MAX:,} characters:"
            " that is no password"
        )
    password = without_line_end(line)
    if not password:
        raise click.UsageError("the password is empty: it is the first line of standard input")
    return password


def _can_ask() -> bool:
    """Tell whether a person is there to answer."""
    return sys.stdin.isatty()
