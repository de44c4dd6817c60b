"""A load test in a process of its own: Locust patches whatever imports it, so it stays out of ours.

Starts it, waits for it by a deadline, and reads what it came to.
"""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sportshop.client import Client

ROOT = Path(__file__).parents[2]
SHORT = ("--headless", "--run-time", "2s")  # where it does not matter how much happens
LONG = ("--headless", "--run-time", "100s")  # something else ends it
DEADLINE_S = 100
PASSED, REQUESTS_FAILED, WRONG_USAGE, VIOLATED, INCONCLUSIVE, SLO_MISSED = range(6)
STOCK = {"Football": 300, "Yoga Mat": 100_000, "Golf Ball": 100_000}

needs_locust = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="needs the extra `loadtest`"
)


class LoadTest:
    """Locust, running. Leaving the context ends it and everything that it started."""

    def __init__(self, host: str, *arguments: str, locustfile: str = "loadtest/") -> None:
        command = [sys.executable, "-m", "locust", "-f", locustfile, "--only-summary"]
        if "--worker" not in arguments:
            command += ["--users", "8", "--spawn-rate", "100", "--host", host]
        self._process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.printed = self.log = ""

    def __enter__(self) -> "LoadTest":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.communicate()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Press Ctrl-C: a terminal sends SIGINT to the process and to all that it started."""
        os.killpg(self.pid, signal.SIGINT)

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]

    def exit_code(self) -> int:
        self.printed, self.log = self._process.communicate(timeout=DEADLINE_S)
        print(self.printed, self.log)  # pytest shows it when the test fails
        return self._process.returncode

    def finish(self, address: str, orders: int = 200) -> int:
        """Wait until the shop has sold so much, end the run, and return the exit code."""
        wait_for_orders(address, orders)
        self.signal(signal.SIGTERM)
        return self.exit_code()

    @property
    def audits(self) -> list[str]:
        """The outcomes of the audits that were printed."""
        lines = self.printed.splitlines()
        return [line.split()[1].rstrip(":") for line in lines if line.startswith("audit  ")]


def extra(folder: Path, source: str) -> str:
    """Return locustfiles: the load test, and before it a module of the test's own."""
    path = folder / "extra_locustfile.py"
    path.write_text(source, encoding="utf-8")
    return f"{path},loadtest/shoppers.py"


IMPATIENT = """
import sys

sys.path.append("loadtest")

import _audit
import _connection
import _settling

_audit.OPENING_S_MAX = _audit.PATIENCE_S_MAX = _settling.SETTLE_S_MAX = 1.0
_audit.ANSWER_S_MAX = _connection.ANSWER_S_MAX = 2.0
"""
"""Gives up soon, where what is tested is that it gives up."""
NOTES = """
import logging
from pathlib import Path

from locust import events

FOLDER = Path(__file__).parent


@events.test_stopping.add_listener
def note_the_end(**_):
    (FOLDER / "stopping").touch()


class Note(logging.Handler):
    def emit(self, record):
        if "Ctrl-C once more" in record.getMessage():
            (FOLDER / "warned").touch()


logging.getLogger("loadtest").addHandler(Note())
"""
"""Leaves a file where the test is when the run is being stopped, and when it warns of that."""


class Figures:
    """What a load test wrote with --summary."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "figures.json"
        self.flags = ("--summary", str(self._path))

    @property
    def all(self) -> dict[str, Any]:
        return json.loads(self._path.read_text(encoding="utf-8"))

    def count(self, outcome: str) -> int:
        return self.all["throughput"][outcome]["count"]

    def latencies(self, name: str, table: str = "latencies_ms") -> dict[str, Any]:
        return next(row for row in self.all[table] if row["name"] == name)

    def evidence(self, outcome: str = "fail") -> dict[str, list[str]]:
        """Return the evidence of all rules that came to an outcome, by rule."""
        verdicts = self.all["proof"]["verdicts"]
        return {one["rule"]: one["evidence"] for one in verdicts if one["outcome"] == outcome}


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s"
        time.sleep(0.02)


def wait_for_orders(address: str, count: int, user: str = "user1") -> None:
    """Wait until the ledger has grown to so many orders."""
    host, _, port = address.partition(":")
    with Client(host, int(port)) as customer:
        customer.authenticate(user, "senha")
        wait_for(lambda: customer.products().as_of >= count)


def wait_for_more_orders(address: str) -> None:
    """Wait until the ledger has grown by some orders from now on."""
    host, _, port = address.partition(":")
    with Client(host, int(port)) as customer:
        customer.authenticate("user1", "senha")
        before = customer.products().as_of
        wait_for(lambda: customer.products().as_of >= before + 100)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The web UI.


class WebUi:
    """Locust's pages, as a browser asks for them."""

    def __init__(self) -> None:
        self._port = free_port()
        self.flags = ("--web-host", "127.0.0.1", "--web-port", str(self._port))

    def wait(self) -> None:
        wait_for(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/stats/requests") != b""
        return False

    def users(self) -> int:
        return int(json.loads(self.get("/stats/requests"))["user_count"])

    def get(self, path: str) -> bytes:
        return self._open(path, None)

    def post(self, path: str, **fields: str) -> bytes:
        return self._open(path, urllib.parse.urlencode(fields).encode())

    def _open(self, path: str, data: bytes | None) -> bytes:
        url = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(url, data, timeout=DEADLINE_S) as answer:
            return bytes(answer.read())


# Distributed.


@contextlib.contextmanager
def workers(port: int, count: int) -> Iterator[list[LoadTest]]:
    """Start workers, as on other machines, whose master listens on a port; end them."""
    flags = ("--worker", "--master-host", "127.0.0.1", "--master-port", str(port))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(LoadTest("", *flags)) for _ in range(count)]


def master(port: int, count: int) -> tuple[str, ...]:
    """Return the options for the master of so many workers."""
    own = ("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port))
    return (*own, "--expect-workers", str(count))


def processes(count: int) -> tuple[str, ...]:
    """Return the options for a master and its workers, as processes of one machine."""
    port = str(free_port())
    bind = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    return ("--processes", str(count), *bind, "--master-port", port)
