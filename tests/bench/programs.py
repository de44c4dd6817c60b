"""The programs that a benchmark starts: the shop, the ceilings, the generator."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_SECONDS = 60
ORDER = '{"code":"NEW_ORDER_ITEM","data":{"productName":"Football","quantity":1}}'
KEYED_ORDER = (
    '{"code":"NEW_ORDER_ITEM","data":{"productName":"Football","quantity":1,"orderKey":"%k"}}'
)
LOGIN = '{"code":"AUTHENTICATION","data":{"user":"u%c","password":"secret"}}'
# Check, decrement, append: what the shop does to stock and ledger, in one atomic script.
SELL = """
local left = redis.call('GET', KEYS[1]) - ARGV[1]
if left < 0 then return -1 end
redis.call('SET', KEYS[1], left)
redis.call('RPUSH', 'ledger', ARGV[2] .. ' ' .. ARGV[1] .. ' ' .. left)
return left
"""


class Program(NamedTuple):
    """A server that listens."""

    port: int
    pid: int

    def memory_kib(self) -> int:
        """Return its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise LookupError("VmRSS")


@contextmanager
def shop(store: str, catalogue: Path, *flags: str) -> Iterator[Program]:
    """Run a shop with the settings that it comes with."""
    command = [sys.executable, "-m", "sportshop", "serve", "--port", "0", "--store", store]
    with _listening([*command, "--catalogue", str(catalogue), *flags]) as program:
        yield program


@contextmanager
def echo(answer_bytes: int = 0) -> Iterator[Program]:
    """Run the ceiling."""
    command = [sys.executable, "-m", "tests.bench.echo_server", "0", str(answer_bytes)]
    with _listening(command) as program:
        yield program


@contextmanager
def http_server(program: Path, answer_bytes: int) -> Iterator[Program]:
    """Run the HTTP server that `build("http_server", …)` made."""
    with _listening([str(program), str(answer_bytes)]) as server:
        yield server


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Keep what is started meanwhile on one core, so that load and server do not share one."""
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    os.sched_setaffinity(0, {cores[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Metered(NamedTuple):
    """What a Locust process did: see meter.py."""

    per_s: float
    cpu: float
    """Of a core: 1 if nothing but Locust itself was the limit, and no one else was there."""


def locust(folder: Path, users_file: str, host: str, seconds: float, *flags: str) -> Metered:
    """Run one Locust process with 50 users. Raises RuntimeError if a request failed."""
    found = folder / "meter.json"
    command = [sys.executable, "-m", "locust", "-f", f"{users_file},tests/bench/meter.py"]
    command += ["--headless", "--only-summary", "-u", "50", "-r", "50", "--host", host, *flags]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"METER": str(found), "METER_SECONDS": str(seconds)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"exit code {ran.returncode}: {ran.stdout}{ran.stderr}")
    return Metered(**json.loads(found.read_text()))


@contextmanager
def _listening(command: Sequence[str]) -> Iterator[Program]:
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            if not line.startswith("listening on "):
                raise RuntimeError(f"did not start: {process.stderr.read()}")
            yield Program(int(line.rsplit(":", 1)[1]), process.pid)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()


def redis_server() -> str | None:
    """Return the path of redis-server, if there is one."""
    return shutil.which("redis-server")


@contextmanager
def redis(folder: Path) -> Iterator[tuple[Program, str]]:
    """Run Redis with a sync for every write; yield it with the request that sells one unit."""
    port = _free_port()
    folder = Path(tempfile.mkdtemp(dir=folder))
    command = [
        str(redis_server()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
    ]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _ask_redis(port, "SET Football 900000000")
            script = json.dumps(SELL.strip())
            digest = _ask_redis(port, f"SCRIPT LOAD {script}", lines=2)
            yield Program(port, process.pid), f"EVALSHA {digest} 1 Football 1 user%c"
        finally:
            process.terminate()
            process.wait(30)


def _free_port() -> int:

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _ask_redis(port: int, command: str, lines: int = 1) -> str:
    """Send an inline command; return the last line of the answer."""

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connected:
                connected.sendall(command.encode() + b"\r\n")
                received = b""
                while received.count(b"\n") < lines:
                    received += connected.recv(4096)
                if received.startswith(b"-"):
                    raise RuntimeError(received.decode())
                return received.decode().splitlines()[-1]
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def build(name: str, folder: Path) -> Path:
    """Compile a program of ours. Raises RuntimeError if there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError(f"the benchmark needs a C compiler (cc) for {name}.c")
    program = folder / name
    subprocess.run([compiler, "-O2", "-o", program, HERE / f"{name}.c"], check=True)
    return program


Load = Callable[..., dict[str, Any]]


def load_with(generator: Path) -> Load:
    """Return a function that loads a port: load(port, request, connections=50, depth=16 …)."""

    def load(port: int, request: str, **options: object) -> dict[str, Any]:
        flags = [f"--{name}={value}" for name, value in options.items() if value is not None]
        command = [generator, f"--port={port}", f"--request={request}", *flags]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(ran.stderr)
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    return load


@contextmanager
def idle_clients(generator: Path, port: int, count: int, login: str) -> Iterator[None]:
    """Keep clients that have logged in and say nothing."""
    command = [generator, f"--port={port}", f"--connections={count}", f"--login={login}", "--idle"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield
        process.communicate()
