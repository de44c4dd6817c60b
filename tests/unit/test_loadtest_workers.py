"""The roll of a run's workers: a report counts once, and only if it is of this run and whole."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from _part import Part, Report
from _workers import FINISH, MISSING, Roll, present, send

TAG = "5ca1ab1e"


class Runner:
    """What the roll sees of Locust's runner."""

    def __init__(self, **states: str) -> None:
        self.clients = {name: SimpleNamespace(state=state) for name, state in states.items()}
        self.environment = SimpleNamespace(stop_timeout=0)
        self.sent: list[tuple[str, Any]] = []

    def send_message(self, kind: str, data: object) -> None:
        self.sent.append((kind, data))

    def _send_stats(self) -> None:
        pass


def pieces(report: Report, monkeypatch: pytest.MonkeyPatch, size: int = 50) -> list[dict[str, Any]]:
    monkeypatch.setattr("_workers.PIECE_BYTES", size)
    runner = Runner()
    send(runner, report)
    return [data for _, data in runner.sent]


def test_a_report_in_pieces_is_whole_in_whatever_order_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roll = Roll(TAG, ["a"])
    sent = pieces(Part(TAG, 7).report(), monkeypatch)
    assert len(sent) > 2
    for data in [*reversed(sent), *sent]:  # and what comes twice counts once
        roll.receive("a", data)
    assert [report.block.worker for report in roll.reports()] == [7]
    assert roll.missing() == roll.faults == []


def test_a_report_of_the_run_before_or_of_a_stranger_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roll = Roll(TAG, ["a"])
    for data in pieces(Part("0ldda7a0").report(), monkeypatch):
        roll.receive("a", data)
    for data in pieces(Part(TAG).report(), monkeypatch):
        roll.receive("stranger", data)
    assert roll.reports() == []
    assert roll.missing() == ["a"]
    assert roll.faults == []


GOOD: dict[str, Any] = {
    "tag": TAG,
    "piece": 0,
    "pieces": 1,
    "data": msgspec.msgpack.encode(Part(TAG).report()),
}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "report",
        {},
        {"tag": TAG},
        {**GOOD, "piece": "first"},
        {**GOOD, "piece": -1},
        {**GOOD, "pieces": 0},
        {**GOOD, "pieces": 10**9},
        {**GOOD, "data": b""},
        {**GOOD, "data": b"\xc1garbled"},
        {**GOOD, "data": GOOD["data"][:-9]},
        {**GOOD, "data": msgspec.msgpack.encode({"tag": TAG, "block": 7})},
        {**GOOD, "data": msgspec.msgpack.encode(Part("0ldda7a0").report())},
        {**GOOD, "data": b"\x91" * 100_000},
    ],
)
def test_a_garbled_report_is_a_fault_of_ours_and_no_exception(data: object) -> None:
    roll = Roll(TAG, ["a"])
    roll.receive("a", data)
    assert roll.missing() == ["a"]
    assert len(roll.faults) == 1
    assert "worker a is garbled" in roll.faults[0]
    roll.receive("a", GOOD)  # and the whole one is not too late
    assert roll.missing() == []


def test_only_workers_that_send_heartbeats_are_present() -> None:
    assert present(Runner(a="ready", gone=MISSING, b="running")) == ["a", "b"]


def test_nobody_waits_for_a_worker_that_is_gone() -> None:
    roll, runner = Roll(TAG, ["gone"]), Runner(gone=MISSING)
    roll.collect(runner)
    assert runner.sent == [(FINISH, {"tag": TAG, "team": ["gone"]})]
    assert roll.missing() == ["gone"]


def test_a_worker_that_comes_later_is_expected_from_then_on() -> None:
    roll = Roll(TAG, ["a"])
    for name in ("b", "b", "a"):
        roll.expect(name)
    assert roll.missing() == ["a", "b"]
    nobody_s = Roll("")  # of a run that was called off
    nobody_s.expect("b")
    assert nobody_s.missing() == []
