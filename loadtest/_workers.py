"""Workers: who takes part in a distributed run, and what each of them reports to the master.

A worker sends its report when its users have stopped, in pieces that leave room for heartbeats. One
that never does leaves a hole in the record, and the audit has to know. Knows no shop.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import gevent
import msgspec
from _part import Report

if TYPE_CHECKING:  # importing Locust patches the sockets of whoever does
    from locust.runners import MasterRunner, WorkerRunner

REPORT = "shop_report"  # worker to master: a piece of what its shoppers saw
FINISH = "shop_finish"  # master to workers: stop your users and report
PIECE_BYTES = 4_000_000
REPORT_S_MAX = 120.0  # beyond Locust's stop timeout: to stop, settle and send a million orders
LOOK_S = 0.05
PIECES_MAX = 100_000
MISSING = "missing"
"""What Locust calls a worker that sends no heartbeats."""


class Roll:
    """The workers of one run, as the master knows them.

    `team`: those that are there at the beginning. A worker's number is its place in the team.
    """

    def __init__(self, tag: str, team: Sequence[str] = ()) -> None:
        self._tag = tag
        self.team = list(team)
        self.faults: list[str] = []
        """Why a report could not be read."""
        self._pieces: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._reports: dict[str, Report] = {}

    def expect(self, worker: str) -> None:
        """Note a worker that came later, whose report from now on must not be missing."""
        if self._tag and worker not in self.team:
            self.team.append(worker)

    def receive(self, worker: str, data: object) -> None:
        """Take a piece of a worker's report; one of an earlier run, or of a stranger, is let go.

        What can't be read is a fault of ours. What comes twice counts once.
        """
        try:
            piece = msgspec.convert(data, _Piece, strict=False)
            if piece.tag != self._tag or worker not in self.team or worker in self._reports:
                return
            self._add(worker, piece)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as problem:
            self.faults.append(f"the report of worker {worker} is garbled: {problem}"[:300])

    def _add(self, worker: str, piece: "_Piece") -> None:
        pieces = self._pieces[worker]
        pieces[piece.piece] = piece.data
        if len(pieces) < piece.pieces:
            return
        del self._pieces[worker]
        whole = b"".join(pieces[number] for number in sorted(pieces))
        report = msgspec.msgpack.decode(whole, type=Report)
        if report.tag != self._tag:
            raise ValueError("it is of another run")
        self._reports[worker] = report

    def collect(self, runner: "MasterRunner") -> None:
        """Ask those who have not reported to finish, and wait for all that are still there."""
        if self.missing():
            runner.send_message(FINISH, {"tag": self._tag, "team": self.team})
        alive = partial(_is_alive, runner)
        gives_up_at = time.monotonic() + runner.environment.stop_timeout + REPORT_S_MAX
        while any(map(alive, self.missing())) and time.monotonic() < gives_up_at:
            gevent.sleep(LOOK_S)

    def missing(self) -> list[str]:
        """Return the workers that have not reported."""
        return sorted(set(self.team) - self._reports.keys())

    def reports(self) -> list[Report]:
        """Return what was reported."""
        return list(self._reports.values())


class _Piece(msgspec.Struct):
    """A piece of a report."""

    tag: str
    piece: Annotated[int, msgspec.Meta(ge=0, lt=PIECES_MAX)]
    pieces: Annotated[int, msgspec.Meta(ge=1, le=PIECES_MAX)]
    data: bytes


def send(runner: "WorkerRunner", report: Report) -> None:
    """Send the master what there is to know: first Locust's statistics, then the report."""
    # The regular report of the statistics comes every 3 s, the master's summary comes now.
    runner._send_stats()  # noqa: SLF001 - Locust has no public way to report early
    whole = msgspec.msgpack.encode(report)
    pieces = [whole[at : at + PIECE_BYTES] for at in range(0, len(whole), PIECE_BYTES)]
    for number, piece in enumerate(pieces):
        data = {"tag": report.tag, "piece": number, "pieces": len(pieces), "data": piece}
        runner.send_message(REPORT, data)
        gevent.sleep(0)


def present(runner: "MasterRunner") -> list[str]:
    """Return the workers that a run would begin with: not one that sends no heartbeats."""
    return [name for name in runner.clients if _is_alive(runner, name)]


def _is_alive(runner: "MasterRunner", worker: str) -> bool:
    node = runner.clients.get(worker)
    return node is not None and node.state != MISSING
