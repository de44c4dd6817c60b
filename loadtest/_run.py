"""Run: `make loadtest`, a shop on a temporary store and its shoppers, from start to verdict.

    python loadtest/_run.py --users 100 --spawn-rate 50 --run-time 20s

Other options go to Locust as they are, e.g. `--processes 4` or `--html report.html`. Prints a
screen: latencies, throughput and the verdict. Ctrl-C ends the run early, with its audit.

Exit codes: 0 all is well; 1 requests failed; 2 the shop or Locust did not start, or crashed;
3 the audit found a violation; 4 the audit could not decide.

It knows the shop only as a command that prints `listening on HOST:PORT`, and leaves nothing
behind: neither a process nor a file.
"""

import os
import signal
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
LISTENING = "listening on "
START_S_MAX = 30.0
STOP_S_MAX = 30.0  # to drain; a shop that needs longer is killed, which counts as a crash
LOG_LINES = 20  # of a log, where something went wrong
VERDICTS = {0, 1, 3, 4}  # Locust's exit codes that mean what they say
CRASHED = 2


class Crashed(Exception):
    """The shop or Locust did not do what they were started for; the message is their log."""


def main(arguments: Sequence[str]) -> int:
    """Run the load test and return the exit code."""
    parser = ArgumentParser(description="Load a shop on a temporary store and audit it.")
    parser.add_argument("--users", default=os.environ.get("USERS", "100"))
    parser.add_argument("--spawn-rate", default=os.environ.get("RATE", "50"))
    parser.add_argument("--run-time", default=os.environ.get("TIME", "20s"))
    options, others = parser.parse_known_args(arguments)
    load = ["--users", options.users, "--spawn-rate", options.spawn_rate]
    load += ["--run-time", options.run_time, *others]
    with TemporaryDirectory(prefix="sportshop-") as folder:
        try:
            with running_shop(Path(folder)) as address:
                print(f"a shop on {address}, {options.users} shoppers for {options.run_time}\n")
                return send_shoppers(address, load, Path(folder))
        except Crashed as problem:
            print(f"loadtest: {problem}", file=sys.stderr)
            return CRASHED


@contextmanager
def running_shop(folder: Path) -> Iterator[str]:
    """Start a shop, yield its address, stop it. Raises Crashed."""
    command = ["-m", "sportshop", "serve", "--port", "0", "--store", f"sqlite:{folder}/shop.db"]
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


def send_shoppers(address: str, load: Sequence[str], folder: Path) -> int:
    """Run Locust, which prints the summary, and return its exit code. Raises Crashed."""
    command = ["-m", "locust", "-f", "loadtest", "--headless", "--only-summary"]
    log = folder / "locust.log"
    sys.stdout.flush()
    locust = start([*command, "--host", f"tcp://{address}", *load], log, None)
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
