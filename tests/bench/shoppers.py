"""Rows about the load test: how much load a Locust process of shoppers makes.

Both sides are one Locust process with 50 users who never pause, on a core of its own, against a
server on the other core that is faster than they are, so that Locust is the limit. The shoppers
buy one of the hot product each, in a flash sale, against the shop with its stock in memory; all of
it is reported to Locust and recorded, and has to pass the audit. The others are FastHttpUsers who
post a body of the same size to an HTTP server in C, which answers all with as many bytes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.bench import programs
from tests.bench.programs import ORDER, Metered
from tests.bench.rows import Bench, Row, Sample, answer_bytes

LOCUST_CORE, SERVER_CORE = 0, 1
NOTHING_ELSE = ("browse", "orders", "basket", "retry", "pipeline", "hang-up")
ONLY_BUY = [
    "--workload=flash-sale",
    *(f"--weight-{name}=0" for name in NOTHING_ELSE),
    f"--shop-users={','.join(f'u{number}:secret' for number in range(50))}",
]

Run = Callable[[], Metered]


def requests_beside_fast_http(bench: Bench) -> Iterator[Sample]:
    with _both(bench) as (shoppers, fast_http):
        for _ in range(bench.repeats):
            below = fast_http().per_s
            yield Sample(shoppers().per_s, below)


def requests_by_cpu_time(bench: Bench) -> Iterator[Sample]:
    """By a second of Locust's own CPU time, which whoever else uses the machine disturbs less."""
    with _both(bench) as (shoppers, fast_http):
        for _ in range(bench.repeats):
            below = fast_http()
            above = shoppers()
            yield Sample(above.per_s / above.cpu, below.per_s / below.cpu)


@contextmanager
def _both(bench: Bench) -> Iterator[tuple[Run, Run]]:
    """Yield what runs the shoppers, and what runs the FastHttpUsers."""
    with ExitStack() as stack:
        with programs.on_core(SERVER_CORE):
            shop = stack.enter_context(programs.shop("memory:", bench.catalogue))
            size = answer_bytes(shop.port, ORDER)
            server = programs.http_server(programs.build("http_server", bench.folder), size)
            http = stack.enter_context(server)
        yield (
            lambda: _locust(bench, "loadtest/", f"tcp://127.0.0.1:{shop.port}", *ONLY_BUY),
            lambda: _locust(bench, "tests/bench/fast_http.py", f"http://127.0.0.1:{http.port}"),
        )


def _locust(bench: Bench, users_file: str, host: str, *flags: str) -> Metered:
    with programs.on_core(LOCUST_CORE):
        return programs.locust(bench.folder, users_file, host, bench.seconds, *flags)


ROWS = [
    Row("shoppers", "a Locust process' requests/s: shoppers ÷ FastHttpUser", 3.5, True, "/s",
        requests_beside_fast_http),
    Row("shoppers-cpu", "the same by a second of Locust's CPU time", 3.5, True, "/s",
        requests_by_cpu_time),
]  # fmt: skip
