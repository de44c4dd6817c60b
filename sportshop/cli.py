"""The commands. A wrong argument or file is told in one line, with exit code 2, untraced."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from sportshop import __version__, catalogue, commands, logs, streams, users
from sportshop.arguments import NOTICES, Host, Port, Seconds, Text, address
from sportshop.catalogue import CatalogueError
from sportshop.display import Failed, clean, say
from sportshop.names import printable
from sportshop.settings import Limits, Settings
from sportshop.storage import FORMS, open_store, open_users
from sportshop.storage.interface import Store, StoreError
from sportshop.users import NewUser, UserExists
from sportshop.verify import verify

Command = Callable[..., Any]
DEFAULTS = Settings()

log = logging.getLogger(__name__)


class CannotStart(Failed):
    """What the operator has to put right before the command can do anything."""

    exit_code = 2


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
    type=Host(listens=True),
    default=DEFAULTS.host,
    envvar="SPORTSHOP_HOST",
    show_envvar=True,
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=Port(0, 65535),
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
    logs.take_over_stderr()
    for notice in click.get_current_context().meta.get(NOTICES, ()):
        log.warning(notice)
    settings = Settings(host, port, store, catalogue_folder, Limits(**limits))
    code = run_server(settings)
    if code:
        sys.exit(code)


def run_server(settings: Settings) -> int:
    """Serve; return the exit code. Raises CannotStart."""
    # Only here: the other commands need no gevent.
    from sportshop.server import CannotListen, Server, close_store  # noqa: PLC0415

    store, opened = _open_store(settings)
    try:
        server = Server(store, settings.host, settings.port, settings.limits)
        server.start()
        log.info("opened the store", extra={"facts": opened})
        _announce(f"listening on {address(*server.address)}")
        server.run()
        return 1 if server.failure else 0
    except CannotListen as problem:
        raise CannotStart(str(problem)) from None
    finally:
        close_store(store, settings.limits.drain_seconds)


def _announce(line: str) -> None:
    """Print a line for whoever waits for the shop; it goes on even if that can't be written."""
    try:
        click.echo(line)
    except OSError as problem:
        streams.discard(sys.stdout)
        facts = {"problem": problem.strerror, "line": line}
        log.warning("cannot write to standard output", extra={"facts": facts})


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


def _catalogue(folder: Path) -> catalogue.Catalogue:
    return catalogue.read_catalogue(folder)


@main.group("users")
def users_group() -> None:
    """Add users to a store. With SQLite the shop may be running meanwhile."""


@users_group.command("add")
@click.argument("name", type=Text())
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line.")
@store_options
def add_user(name: str, password_stdin: bool, store: str, catalogue_folder: Path) -> None:
    """Add the user NAME; the password is asked for."""
    try:
        users.check_name(name)
    except ValueError as problem:
        raise CannotStart(f"NAME: {problem}, found '{printable(name)}'") from None
    password = _read_password(password_stdin)
    try:
        _add(store, catalogue_folder, [NewUser(name, users.hash_password(password))])
    except UserExists as problem:
        raise Failed(f"{problem}: nothing was added") from None
    _report(f"added {name}")


@users_group.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@store_options
def import_users(file: Path, store: str, catalogue_folder: Path) -> None:
    """Add the users of FILE, a CSV with the columns user,passwordHash: all of them or none."""
    try:
        new = catalogue.read_users(file)
    except CatalogueError as problem:
        raise CannotStart(str(problem)) from None
    try:
        _add(store, catalogue_folder, new)
    except UserExists as problem:  # no cell of the file is shown: it may be a secret
        line = catalogue.line_of_user(file, problem.name)
        where = f"{printable(str(file))}, line {line}, column user"
        raise Failed(f"{where}: the store has that user already: nothing was added") from None
    _report(f"added {len(new)} user{'' if len(new) == 1 else 's'}")


def _report(done: str) -> None:
    """Say what was done. Raises Failed, with it, if that can't be written."""
    try:
        say(done)
    except OSError as problem:
        streams.discard(sys.stdout)
        raise Failed(f"{done}, but standard output cannot be written: {problem.strerror}") from None


def _add(store: str, catalogue_folder: Path, new: Sequence[NewUser]) -> None:
    """Add users. Raises UserExists, CannotStart."""
    try:
        with open_users(store, lambda: _catalogue(catalogue_folder)) as repository:
            repository.add(new)
    except (StoreError, CatalogueError) as problem:
        raise CannotStart(str(problem)) from None


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return commands.first_line()
    if not sys.stdin.isatty():
        raise CannotStart("no password: give --password-stdin")
    return commands.asked_for("Password", hide_input=True, twice=True)


def run() -> None:
    """Run a command and end the process. Whatever ends it is told in one line at most."""
    streams.take_missing()
    sys.exit(streams.finish(_exit_code()))


def _exit_code() -> int:
    """Run a command; return its exit code, having told what went wrong."""
    try:
        return _code(main(prog_name="sportshop", standalone_mode=False))
    except SystemExit as end:
        return _code(end.code)
    except (
        click.ClickException,
        click.Abort,
        ModuleNotFoundError,
        UnicodeError,
        OSError,
    ) as problem:
        return _told(problem)


def _told(problem: BaseException) -> int:
    match problem:
        case click.exceptions.NoArgsIsHelpError():
            streams.tell_text(problem.format_message())
            return problem.exit_code
        case click.ClickException():
            streams.tell(clean(problem.format_message()))
            return problem.exit_code
        case ModuleNotFoundError(
            name=name
        ):  # of Unix: the server needs more of a platform than a client
            streams.tell(f"this platform has no module {name!r}, which is needed here")
            return 2
        case UnicodeError():
            what = "an argument, a variable or a file's name"
            streams.tell(f"{what} is not text that can be used here: {_shown(problem)}")
            return 2
        case OSError():
            streams.tell_problem(problem)
        case click.Abort():
            streams.tell("aborted")
        case _:
            raise problem
    return 1


def _shown(problem: UnicodeError) -> str:
    text = problem.object if isinstance(problem, UnicodeEncodeError) else problem
    return ascii(str(text))[:200]


def _code(given: object) -> int:
    return given if isinstance(given, int) else int(given is not None)
