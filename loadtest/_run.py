"""Run: `make loadtest`, a flash sale in a shop on a temporary store, from start to verdict.

    python loadtest/_run.py --users 100 --spawn-rate 50 --run-time 30s
    python loadtest/_run.py --ui

Every shopper has an account of his own. Other options go to Locust as they are, e.g. `--workload
baskets`, `--processes 4` or `--report report.html`. Prints a screen: latencies, throughput and the
verdict; with `--ui` the run is started and watched in a browser. Ctrl-C ends it early, with its
audit.

Exit codes: 0 all is well; 1 requests failed; 2 the shop or Locust did not start, or crashed; 3 the
shop broke a rule; 4 the audit could not decide; 5 an objective was missed.

It knows the shop only as a command that prints `listening on HOST:PORT`, and leaves nothing
behind: neither a process nor a file.
"""

import csv
import signal
import socket
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

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
VERDICTS = {0, 1, 3, 4, 5}  # Locust's exit codes that mean what they say
CRASHED = 2


class Crashed(Exception):
    """The shop or Locust did not do what they were started for; the message is their log."""


def main(arguments: Sequence[str]) -> int:
    """Run the load test and return the exit code."""
    parser = ArgumentParser(description="Load a shop on a temporary store and audit it.")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--spawn-rate", default="50")
    parser.add_argument("--run-time", default="30s")
    parser.add_argument("--ui", action="store_true", help="start it in a browser")
    parser.add_argument("--ui-port", type=int, default=UI_PORT)
    options, others = parser.parse_known_args(arguments)
    load = ["--users", str(options.users), "--spawn-rate", options.spawn_rate]
    load += ["--run-time", options.run_time, *others]
    with TemporaryDirectory(prefix="sportshop-") as name:
        folder = Path(name)
        accounts = write_catalogue(folder, max(options.users, UI_USERS if options.ui else 1))
        load += ["--shop-users-file", str(accounts)]
        try:
            if options.ui:
                check_port(options.ui_port)
            with running_shop(folder) as address:
                if options.ui:
                    print(f"a shop on {address}")
                    print(f"open http://localhost:{options.ui_port}; Ctrl-C ends it", flush=True)
                    ui = ["--web-host", "127.0.0.1", "--web-port", str(options.ui_port)]
                    return send_shoppers(address, [*ui, *load], folder)
                print(
                    f"a shop on {address}, {options.users} shoppers for {options.run_time}\n",
                    flush=True,
                )
                return send_shoppers(address, ["--headless", *load], folder)
        except Crashed as problem:
            print(f"loadtest: {problem}", file=sys.stderr)
            return CRASHED


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
def running_shop(folder: Path) -> Iterator[str]:
    """Start a shop of the folder's catalogue, yield its address, stop it. Raises Crashed."""
    command = ["-m", "sportshop", "serve", "--port", "0", "--store", f"sqlite:{folder}/shop.db"]
    command += ["--catalogue", str(folder)]
    log = folder / "shop.log"
    shop = start(command, log, subprocess.PIPE)
    try:
        yield address_of(shop, log)
        shop.terminate()
        code = shop.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        raise Crashed(f"the shop did not stop\n{tail(log)}") from None
    finally:
        shop.kill()
        shop.communicate()
    if code:
        raise Crashed(f"the shop ended with exit code {code}\n{tail(log)}")


def address_of(shop: subprocess.Popen[str], log: Path) -> str:
    """Wait until the shop listens, and return where. Raises Crashed."""
    assert shop.stdout is not None  # noqa: S101 - it was started with a pipe
    alarm = threading.Timer(START_S_MAX, shop.kill)
    alarm.start()
    line = shop.stdout.readline()
    alarm.cancel()
    if not line.startswith(LISTENING):
        raise Crashed(f"the shop did not start\n{tail(log)}")
    return line.removeprefix(LISTENING).strip()


def send_shoppers(address: str, load: Iterable[str], folder: Path) -> int:
    """Run Locust, which prints the summary, and return its exit code. Raises Crashed."""
    command = ["-m", "locust", "-f", "loadtest", "--only-summary", "--host", f"tcp://{address}"]
    sale = ["--workload", "flash-sale", "--hot-product", HOT_PRODUCT, "--alone"]
    log = folder / "locust.log"
    locust = start([*command, *sale, *load], log, None)  # of an option given twice the last counts
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: locust.send_signal(signal.SIGINT))
        code = locust.wait()
    finally:
        locust.kill()
        locust.wait()
    if code not in VERDICTS:
        raise Crashed(f"Locust ended with exit code {code}\n{tail(log)}")
    return code


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
