"""The commands. A wrong argument or file is told in one line, with exit code 2, untraced."""

import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from sportshop import __version__, catalogue, commands, logs, users
from sportshop.catalogue import CatalogueError
from sportshop.commands import Failed
from sportshop.settings import Limits, Settings
from sportshop.storage import FORMS, open_store, open_users
from sportshop.storage.interface import Store, StoreError
from sportshop.users import NewUser, UserExists
from sportshop.verify import verify

Command = Callable[..., Any]
log = logging.getLogger(__name__)
DEFAULTS = Settings()


class CannotStart(Failed):
    """What the operator has to put right before the command can do anything."""

    exit_code = 2


class Seconds(click.FloatRange):
    """A number of seconds: click's own range lets NaN pass."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the number, or refuse it."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


def limit_options(command: Command) -> Command:
    """Add a flag, with its environment variable, for every limit in settings.py."""
    for limit in reversed(fields(Limits)):
        kind = click.IntRange if limit.type is int else Seconds
        command = click.option(
            "--" + limit.name.replace("_", "-"),
            type=kind(min=limit.metadata["at_least"]),
            default=limit.default,
            envvar=f"SPORTSHOP_{limit.name.upper()}",
            show_envvar=True,
            show_default=True,
            help=_sentence(limit.metadata["help"]),
        )(command)
    return command


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def store_options(command: Command) -> Command:
    """Add --store and --catalogue."""
    command = click.option(
        "--catalogue",
        "catalogue_folder",
        type=click.Path(path_type=Path),
        default=DEFAULTS.catalogue,
        envvar="SPORTSHOP_CATALOGUE",
        show_envvar=True,
        show_default=True,
        help="Folder of products.csv and users.csv, which fill an empty store.",
    )(command)
    return click.option(
        "--store",
        default=DEFAULTS.store,
        envvar="SPORTSHOP_STORE",
        show_envvar=True,
        show_default=True,
        help=f"Where users, products and orders are kept: {FORMS}.",
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="sportshop %(version)s")
def main() -> None:
    """Run, fill and visit a shop for limited stock that never oversells."""


for customer_command in (commands.shop, commands.products, commands.orders, commands.buy):
    main.add_command(customer_command)
main.add_command(verify)


@main.command()
@click.option(
    "--host",
    default=DEFAULTS.host,
    envvar="SPORTSHOP_HOST",
    show_envvar=True,
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULTS.port,
    envvar="SPORTSHOP_PORT",
    show_envvar=True,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@store_options
@click.option(
    "--log-format",
    type=click.Choice(logs.FORMATS),
    default="text",
    envvar="SPORTSHOP_LOG_FORMAT",
    show_envvar=True,
    show_default=True,
    help="For people or for machines; one line an event, on stderr.",
)
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="INFO",
    envvar="SPORTSHOP_LOG_LEVEL",
    show_envvar=True,
    show_default=True,
    help="DEBUG adds a line for every connection that is lost.",
)
@limit_options
def serve(
    host: str,
    port: int,
    store: str,
    catalogue_folder: Path,
    log_format: str,
    log_level: str,
    **limits: Any,
) -> None:
    """Run the shop until SIGTERM or SIGINT.

    Prints `listening on HOST:PORT` on stdout when it is ready. Exit codes: 0 after a signal,
    1 after the store failed, 2 if the shop could not start.
    """
    logs.configure(log_format, log_level.upper())
    settings = Settings(host, port, store, catalogue_folder, Limits(**limits))
    code = run_server(settings)
    sys.stdout.flush()
    if code:
        sys.exit(code)


def run_server(settings: Settings) -> int:
    """Serve; return the exit code. Raises CannotStart."""
    # Only here: the other commands need no gevent.
    from sportshop.server import CannotListen, Server  # noqa: PLC0415

    store, opened = _open_store(settings)
    try:
        server = Server(store, settings.host, settings.port, settings.limits)
        server.start()
        log.info("opened the store", extra={"facts": opened})
        click.echo(f"listening on {address(*server.address)}")
        server.run()
        return 1 if server.failure else 0
    except CannotListen as problem:
        raise CannotStart(str(problem)) from None
    finally:
        store.close()


def _open_store(settings: Settings) -> tuple[Store, dict[str, object]]:
    """Open the store; return it with what the log says of it. Raises CannotStart."""
    filled_from: dict[str, object] = {}

    def fill() -> catalogue.Catalogue:
        contents = _catalogue(settings.catalogue)
        filled_from["filled_from"] = settings.catalogue
        return contents

    try:
        store = open_store(settings.store, fill)
    except (StoreError, CatalogueError) as problem:
        raise CannotStart(str(problem)) from None
    return store, {"store": store.name, **store.contents, **filled_from}


def address(host: str, port: int) -> str:
    """Write an address as one gives it to a client."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _catalogue(folder: Path) -> catalogue.Catalogue:
    return catalogue.read_catalogue(folder)


@main.group("users")
def users_group() -> None:
    """Add users to a store. With SQLite the shop may be running meanwhile."""


@users_group.command("add")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line.")
@store_options
def add_user(name: str, password_stdin: bool, store: str, catalogue_folder: Path) -> None:
    """Add the user NAME; the password is asked for."""
    try:
        users.check_name(name)
    except ValueError as problem:
        raise CannotStart(f"NAME: {problem}, found {name!r}") from None
    password = _read_password(password_stdin)
    _add(store, catalogue_folder, [NewUser(name, users.hash_password(password))])
    click.echo(f"added {name}")


@users_group.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@store_options
def import_users(file: Path, store: str, catalogue_folder: Path) -> None:
    """Add the users of FILE, a CSV with the columns user,passwordHash: all of them or none."""
    try:
        new = catalogue.read_users(file)
    except CatalogueError as problem:
        raise CannotStart(str(problem)) from None
    _add(store, catalogue_folder, new)
    click.echo(f"added {len(new)} user{'' if len(new) == 1 else 's'}")


def _add(store: str, catalogue_folder: Path, new: Sequence[NewUser]) -> None:
    try:
        with open_users(store, lambda: _catalogue(catalogue_folder)) as repository:
            repository.add(new)
    except UserExists as problem:
        raise Failed(f"{problem}: nothing was added") from None
    except (StoreError, CatalogueError) as problem:
        raise CannotStart(str(problem)) from None


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if not password:
        raise CannotStart("the password is empty")
    return password


def run() -> None:
    """Run a command; the output's reader may go away."""
    try:
        main()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
