"""Workers: who takes part in a distributed run, and what each of them reports to the master.

A worker sends its report when its users have stopped, in pieces that leave room for heartbeats. One
that never does leaves a hole in the record, and the audit has to know. Knows no shop.
"""

import time
from collections import defaultdict
from functools import partial
from typing import Any

import gevent
import msgspec
from _part import Report
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

REPORT = "shop_report"  # worker to master: a piece of what its shoppers saw
FINISH = "shop_finish"  # master to workers: stop your users and report
PIECE_BYTES = 4_000_000
REPORT_S_MAX = 120.0  # beyond Locust's stop timeout: to stop, settle and send a million orders
LOOK_S = 0.05


class Roll:
    """The workers of one run, as the master knows them."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._expected: set[str] = set()
        self._pieces: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._reports: dict[str, Report] = {}

    def expect(self, worker: str) -> None:
        """Note a worker, whose report from now on must not be missing."""
        self._expected.add(worker)

    def receive(self, worker: str, data: dict[str, Any]) -> None:
        """Take a piece of a worker's report; one of an earlier run is let go."""
        if data["tag"] != self._tag:
            return
        pieces = self._pieces[worker]
        pieces[data["piece"]] = data["data"]
        if len(pieces) == data["pieces"]:
            whole = b"".join(pieces[number] for number in range(len(pieces)))
            self._reports[worker] = msgspec.msgpack.decode(whole, type=Report)
            del self._pieces[worker]

    def collect(self, runner: MasterRunner) -> None:
        """Ask those who have not reported to finish, and wait for all that are still there."""
        if self.missing():
            runner.send_message(FINISH, {"tag": self._tag})
        alive = partial(_is_alive, runner)
        gives_up_at = time.monotonic() + runner.environment.stop_timeout + REPORT_S_MAX
        while any(map(alive, self.missing())) and time.monotonic() < gives_up_at:
            gevent.sleep(LOOK_S)

    def missing(self) -> list[str]:
        """Return the workers that have not reported."""
        return sorted(self._expected - self._reports.keys())

    def reports(self) -> list[Report]:
        """Return what was reported."""
        return list(self._reports.values())


def send(runner: WorkerRunner, report: Report) -> None:
    """Send the master what there is to know: first Locust's statistics, then the report."""
    # The regular report of the statistics comes every 3 s, the master's summary comes now.
    runner._send_stats()  # noqa: SLF001 - Locust has no public way to report early
    whole = msgspec.msgpack.encode(report)
    pieces = [whole[at : at + PIECE_BYTES] for at in range(0, len(whole), PIECE_BYTES)]
    for number, piece in enumerate(pieces):
        data = {"tag": report.tag, "piece": number, "pieces": len(pieces), "data": piece}
        runner.send_message(REPORT, data)
        gevent.sleep(0)


def _is_alive(runner: MasterRunner, worker: str) -> bool:
    node = runner.clients.get(worker)
    return node is not None and node.state != STATE_MISSING
