"""Run: `make loadtest`, a flash sale in a shop on a temporary store, from start to verdict.

    python loadtest/_run.py --users 100 --spawn-rate 50 --run-time 30s
    python loadtest/_run.py --ui

Every shopper has an account of his own. Other options go to Locust as they are, e.g. `--workload
baskets`, `--processes 4` or `--report report.html`. Prints a screen: latencies, throughput and the
verdict; with `--ui` the run is started and watched in a browser. Ctrl-C ends it early, with its
audit.

Exit codes: 0 all is well; 1 requests failed; 2 the shop or Locust did not start, or crashed; 3 the
shop broke a rule; 4 the audit could not decide; 5 an objective was missed; 128 and a signal's
number if that ended it without an audit.

A signal (Ctrl-C, SIGTERM, or SIGHUP when the terminal is closed) ends the run with its audit; one
more, a second later or more, ends it at once, and so does one that comes before shoppers do. It
knows the shop only as a command that prints `listening on HOST:PORT`, and however it ends it
leaves nothing behind: neither a process nor a file.
"""

import csv
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from sportshop.streams import discard

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "data"
DEMO_PASSWORD = "senha"  # noqa: S105 - the README tells it
HOT_PRODUCT = "Limited Edition Match Ball"
HOT_STOCK = 100_000  # lasts for some seconds, and then is gone before the run is
USERS = 100
UI_USERS = 1_000  # accounts; whoever asks for more shoppers lets them share
UI_PORT = 8089
LISTENING = "listening on "
START_S_MAX = 30.0
STOP_S_MAX = 30.0  # to drain; a shop that needs longer is killed, which counts as a crash
LOG_LINES = 20  # of a log, where something went wrong
INSISTS_S = 1.0  # a signal that comes sooner is the same one: make passes on what it gets itself
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALLED = 128  # and its number: as a shell tells
VERDICTS = {0, 1, 3, 4, 5}  # Locust's exit codes that mean what they say
CRASHED = 2


class Crashed(Exception):
    """The shop or Locust did not do what they were started for; the message is their log."""


class Ended(Exception):
    """A signal ended the run before its audit."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}, without an audit")
        self.number = number


class Signals:
    """What a signal does: it lets shoppers go home, or ends everything.

    While a process is being started a signal waits: nobody would know of that process otherwise.
    """

    def __init__(self) -> None:
        self._shoppers: subprocess.Popen[str] | None = None
        self._first_s: float | None = None
        self.number = 0
        """Which one sent them home."""
        self._is_held = self._is_over = False
        self._waiting = 0
        for number in ENDING:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait till the block has ended. Raises Ended then."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._waiting and not self._is_over:
            self._end(self._waiting)

    @contextmanager
    def cleaning_up(self) -> Iterator[None]:
        """Heed no signal any more when the block has ended: what is left to do takes no time."""
        try:
            yield
        finally:
            self._is_over = True

    def go_to(self, shoppers: "subprocess.Popen[str]") -> None:
        """Let the first signal from now on send these home."""
        self._shoppers = shoppers

    def _on_signal(self, number: int, _: object) -> None:
        if self._is_held:
            self._waiting = number
        elif self._is_over:
            return  # everything is being ended, which takes no time
        elif self._shoppers is None or self._shoppers.poll() is not None:
            self._end(number)
        elif self._first_s is None:
            self._first_s, self.number = time.monotonic(), number
            self._shoppers.send_signal(signal.SIGINT)
        elif time.monotonic() - self._first_s >= INSISTS_S:
            self._end(number)

    def _end(self, number: int) -> NoReturn:
        self._is_over = True
        raise Ended(number)


def main(arguments: Sequence[str]) -> int:
    """Run the load test and return the exit code."""
    parser = ArgumentParser(description="Load a shop on a temporary store and audit it.")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--spawn-rate", default="50")
    parser.add_argument("--run-time", default="30s")
    parser.add_argument("--ui", action="store_true", help="start it in a browser")
    parser.add_argument("--ui-port", type=int, default=UI_PORT)
    options, others = parser.parse_known_args(arguments)
    signals = Signals()
    try:
        return run(options, others, signals)
    except Crashed as problem:
        print(f"loadtest: {problem}", file=sys.stderr)
        return CRASHED
    except Ended as end:
        print(f"loadtest: {end}", file=sys.stderr)
        return SIGNALLED + end.number


def run(options: Namespace, others: Sequence[str], signals: "Signals") -> int:
    """Run the load test against a shop of its own. Raises Crashed, Ended."""
    load = ["--users", str(options.users), "--spawn-rate", options.spawn_rate]
    load += ["--run-time", options.run_time, *others]
    with ExitStack() as stack:
        with signals.held():
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="sportshop-")))
        stack.enter_context(signals.cleaning_up())
        accounts = write_catalogue(folder, max(options.users, UI_USERS if options.ui else 1))
        load += ["--shop-users-file", str(accounts)]
        if options.ui:
            check_port(options.ui_port)
        with running_shop(folder, signals) as address:
            if options.ui:
                say(f"a shop on {address}\nopen http://localhost:{options.ui_port}; Ctrl-C ends it")
                ui = ["--web-host", "127.0.0.1", "--web-port", str(options.ui_port)]
                return send_shoppers(address, [*ui, *load], folder, signals)
            say(f"a shop on {address}, {options.users} shoppers for {options.run_time}\n")
            return send_shoppers(address, ["--headless", *load], folder, signals)


def say(text: str) -> None:
    """Print a text, if there is room for it: a run that nobody can watch is a run all the same."""
    try:
        print(text, flush=True)
    except OSError as problem:
        discard(sys.stdout)
        print(f"loadtest: cannot write to standard output: {problem.strerror}", file=sys.stderr)


def check_port(port: int) -> None:
    """See that the web UI can have its port. Raises Crashed."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError:
        raise Crashed(
            f"port {port} is in use; another one: make loadtest-ui LOCUST='--ui-port 8090'"
        ) from None


def write_catalogue(folder: Path, users: int) -> Path:
    """Write a catalogue: the demo's with much of one product, and an account for each shopper.

    They share a password, and its hash. Returns the file that names the accounts.
    """
    products = read(DEMO / "products.csv")
    for product in products:
        if product["name"] == HOT_PRODUCT:
            product["stockQuantity"] = str(HOT_STOCK)
    write(folder / "products.csv", products)
    known = read(DEMO / "users.csv")[0]["passwordHash"]
    names = [f"shopper{number}" for number in range(1, users + 1)]
    write(folder / "users.csv", [{"user": name, "passwordHash": known} for name in names])
    accounts = folder / "accounts.csv"
    write(accounts, [{"user": name, "password": DEMO_PASSWORD} for name in names])
    return accounts


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write a CSV file of one row or more."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def running_shop(folder: Path, signals: Signals) -> Iterator[str]:
    """Start a shop of the folder's catalogue, yield its address, stop it. Raises Crashed, Ended."""
    command = ["-m", "sportshop", "serve", "--port", "0", "--store", f"sqlite:{folder}/shop.db"]
    command += ["--catalogue", str(folder)]
    log = folder / "shop.log"
    shop: subprocess.Popen[str] | None = None
    try:
        with signals.held():
            shop = start(command, log, subprocess.PIPE)
        yield address_of(shop, log)
        shop.terminate()
        code = shop.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        raise Crashed(f"the shop did not stop\n{tail(log)}") from None
    finally:
        if shop is not None:
            with signals.held():
                end(shop)
    if code:
        raise Crashed(f"the shop ended with exit code {code}\n{tail(log)}")


def address_of(shop: subprocess.Popen[str], log: Path) -> str:
    """Wait until the shop listens, and return where. Raises Crashed."""
    assert shop.stdout is not None  # noqa: S101 - it was started with a pipe
    alarm = threading.Timer(START_S_MAX, shop.kill)
    try:
        alarm.start()  # here, or a signal meanwhile would leave it running, and us waiting for it
        line = shop.stdout.readline()
    finally:
        alarm.cancel()
    if not line.startswith(LISTENING):
        raise Crashed(f"the shop did not start\n{tail(log)}")
    return line.removeprefix(LISTENING).strip()


def send_shoppers(address: str, load: Iterable[str], folder: Path, signals: Signals) -> int:
    """Run Locust, which prints the summary, and return its exit code. Raises Crashed, Ended."""
    command = ["-m", "locust", "-f", "loadtest", "--only-summary", "--host", f"tcp://{address}"]
    sale = ["--workload", "flash-sale", "--hot-product", HOT_PRODUCT, "--alone"]
    log = folder / "locust.log"
    locust: subprocess.Popen[str] | None = None
    try:
        with signals.held():
            # Of an option given twice the last counts.
            locust = start([*command, *sale, *load], log, None)
        signals.go_to(locust)
        code = locust.wait()
    finally:
        if locust is not None:
            with signals.held():
                end(locust)
    if code not in VERDICTS and signals.number:
        raise Ended(signals.number)  # it came before Locust could heed it
    if code not in VERDICTS:
        raise Crashed(f"Locust ended with exit code {code}\n{tail(log)}")
    return code


def end(process: "subprocess.Popen[str]") -> None:
    """End a process and all that it started, if it has not ended by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def start(arguments: Sequence[str], log: Path, stdout: int | None) -> subprocess.Popen[str]:
    """Start a Python program whose stderr is a log.

    In a session of its own, where Ctrl-C does not reach it: the shop has to stay for the audit.
    """
    with log.open("w") as stderr:
        return subprocess.Popen(  # noqa: S603 - our own commands
            [sys.executable, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
