"""Workers: who takes part in a distributed run, and what each of them reports to the master.

A worker sends its tally when its users have stopped. One that never does leaves a hole in the
record, and the audit has to know. Knows no shop.
"""

import time
from functools import partial

import gevent
from _tally import Tally, decode, encode
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

TALLY = "shop_tally"  # worker to master: what its shoppers saw
FINISH = "shop_finish"  # master to workers: stop your users and report
TALLY_S_MAX = 30.0  # beyond Locust's stop timeout: to stop, and to send some 100,000 orders
LOOK_S = 0.05


class Roll:
    """The workers of one run, as the master knows them."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._expected: set[str] = set()
        self._tallies: dict[str, Tally] = {}

    def expect(self, worker: str) -> None:
        """Note a worker, whose tally from now on must not be missing."""
        self._expected.add(worker)

    def receive(self, worker: str, data: bytes) -> None:
        """Take a worker's tally; one of an earlier run is let go."""
        tally = decode(data)
        if tally.tag == self._tag:
            self._tallies[worker] = tally

    def collect(self, runner: MasterRunner) -> None:
        """Ask those who have not reported to finish, and wait for all that are still there."""
        if self.missing():
            runner.send_message(FINISH, {"tag": self._tag})
        alive = partial(_is_alive, runner)
        gives_up_at = time.monotonic() + runner.environment.stop_timeout + TALLY_S_MAX
        while any(map(alive, self.missing())) and time.monotonic() < gives_up_at:
            gevent.sleep(LOOK_S)

    def missing(self) -> list[str]:
        """Return the workers that have not reported."""
        return sorted(self._expected - self._tallies.keys())

    def tallies(self) -> list[Tally]:
        """Return what was reported."""
        return list(self._tallies.values())


def report(runner: WorkerRunner, tally: Tally) -> None:
    """Send the master what there is to know: first Locust's statistics, then the tally."""
    # The regular report of the statistics comes every 3 s, the master's summary comes now.
    runner._send_stats()  # noqa: SLF001 - Locust has no public way to report early
    runner.send_message(TALLY, {"data": encode(tally)})


def _is_alive(runner: MasterRunner, worker: str) -> bool:
    node = runner.clients.get(worker)
    return node is not None and node.state != STATE_MISSING
