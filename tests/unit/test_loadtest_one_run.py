"""One run after the other: nothing of a run is left to the next, and our faults convict nobody."""

import os
import time
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

import pytest
from _audit import CannotAsk
from _board import Board
from _keys import key_number
from _one_run import OneRun, Outcomes
from _options import NOWHERE, Address, WrongUsage
from _part import Report
from _summary import write

from sportshop.audit import Outcome, worst
from tests.unit.test_loadtest_audit import Shop, serve

ACCOUNTS = "ann:senha,bob:senha,idle:senha"


def options(**changes: object) -> Namespace:
    """Return what the command line or a form comes to."""
    given = {
        "workload": "mixed",
        "hot_product": "",
        "rate": "",
        "slo": [],
        "alone": True,
        "headless": False,
        "shop_users": ACCOUNTS,
        "shop_users_file": "",
    }
    return Namespace(**{**given, **changes})


def led(address: Address, board: Board | None = None, **changes: object) -> OneRun:
    run = OneRun(board or Board())
    run.lead(options(**changes), f"{address.host}:{address.port}", [], {"workload": "mixed"})
    return run


def closed(run: OneRun) -> Outcomes:
    return run.close([run.finish()], 3)


def outcome(run: OneRun) -> Outcome:
    return worst(closed(run).verdicts)


def sell(run: OneRun, shop: Shop, user: str = "ann") -> None:
    shop.sell(run.part, user)


def test_two_runs_in_a_row_pass_each_by_itself() -> None:
    board, shop = Board(), Shop()
    with serve(shop) as address:
        tags = []
        for _ in range(2):
            run = led(address, board)
            sell(run, shop)
            tags.append(run.part.tag)
            assert outcome(run) is Outcome.PASS
    assert len(set(tags)) == 2


def test_a_file_of_users_that_has_gone_calls_the_next_run_off(tmp_path: Path) -> None:
    board, shop, file = Board(), Shop(), tmp_path / "users.csv"
    file.write_text("user,password\nann,senha\nbob,senha\nidle,senha\n", encoding="utf-8")
    with serve(shop) as address:
        first = led(address, board, shop_users_file=str(file))
        sell(first, shop)
        assert outcome(first) is Outcome.PASS
        file.unlink()
        second = OneRun(board)
        given = options(shop_users_file=str(file), shop_run=first.part.tag)
        with pytest.raises(WrongUsage, match=f"--shop-users-file: {file}"):
            second.lead(given, f"{address.host}:{address.port}", [], {})
    assert not second.is_open
    assert second.part.tag == ""
    assert given.shop_run == ""  # workers hear of no run


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rate": "fast"}, "--rate"),
        ({"workload": "none"}, "--workload"),
        ({"weight_buy": "-3"}, "--weight-buy"),
        ({"hot_product": "Footbal"}, "--hot-product: the shop has no 'Footbal'"),
        ({"shop_users": "ann"}, "--shop-users"),
        ({"slo": ["fast"]}, "--slo"),
    ],
)
def test_a_form_that_makes_no_sense_calls_the_run_off_and_the_next_one_is_as_it_was_asked_for(
    changes: dict[str, object], told: str
) -> None:
    board, shop = Board(), Shop()
    with serve(shop) as address:
        with pytest.raises(WrongUsage, match=told):
            led(address, board, **changes)
        run = led(address, board, workload="baskets")
        sell(run, shop)
        assert outcome(run) is Outcome.PASS


def test_users_workload_and_rate_are_those_of_the_run(tmp_path: Path) -> None:
    board, shop, file = Board(), Shop(), tmp_path / "users.csv"
    with serve(shop) as address:
        file.write_text("user,password\nann,senha\n", encoding="utf-8")
        first = led(address, board, shop_users_file=str(file), rate="10")
        file.write_text("user,password\nbob,senha\n", encoding="utf-8")
        second = led(address, board, shop_users_file=str(file), workload="baskets")
    assert [first.next_account().user, second.next_account().user] == ["ann", "bob"]
    assert first.schedule is not None
    assert second.schedule is None
    assert second.workload != first.workload


def test_the_board_forgets_the_run_before() -> None:
    board, shop = Board(), Shop()
    with serve(shop) as address:
        run = led(address, board)
        run.part.board.accepted([("Football", 3, 100, 7)], 1)
        assert led(address, board).part.board.rows()[0]["sold"] == 0
        OneRun(board)
        assert board.rows() == []


def test_without_a_shop_a_run_is_inconclusive_and_so_is_it_told() -> None:
    with serve(Shop()) as address:
        pass
    run = OneRun(Board())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("_audit.OPENING_S_MAX", 0.0)
        with pytest.raises(CannotAsk):
            run.lead(options(), f"{address.host}:{address.port}", [], {})
    found = closed(run)
    assert worst(found.verdicts) is Outcome.INCONCLUSIVE
    assert found.figures["exit_code"] == 4


def test_a_run_that_is_stopped_before_it_began_is_inconclusive() -> None:
    with serve(Shop()) as address:
        run = OneRun(Board())
        run.is_under_way = False  # as while its first books are opened
        run.lead(options(), f"{address.host}:{address.port}", [], {})
        assert not run.is_open
        assert outcome(run) is Outcome.INCONCLUSIVE


# Faults of our own.


class Convicted(Shop):
    """A shop with which every run fails: its lists lack what was sold."""

    def enlist(self, *_: object) -> None:
        pass


def test_a_liar_is_convicted() -> None:
    shop = Convicted()
    with serve(shop) as address:
        run = led(address)
        sell(run, shop)
        assert outcome(run) is Outcome.FAIL


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("a bug of ours")


@pytest.mark.parametrize("where", ["_one_run.settle", "_audit.Audit._read_final"])
def test_a_fault_of_ours_at_the_end_leaves_the_verdict_open(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Convicted()
    with serve(shop) as address:
        run = led(address)
        sell(run, shop)
        monkeypatch.setattr(where, broken)
        found = closed(run)
    assert worst(found.verdicts) is Outcome.INCONCLUSIVE
    assert found.figures["exit_code"] == 4
    evidence = [text for one in found.verdicts for text in one.evidence]
    assert any("a bug of ours" in text for text in evidence)
    assert any("is not in ann's final list" in text for text in evidence) or "read" in where


def test_a_fault_of_ours_in_the_middle_leaves_the_verdict_open() -> None:
    shop = Convicted()
    with serve(shop) as address:
        run = led(address)
        sell(run, shop)
        run.fault("a customer", KeyError("Ball"))
        run.fault("a customer", KeyError("Ball"))
        found = closed(run)
    assert worst(found.verdicts) is Outcome.INCONCLUSIVE
    doubts = [text for one in found.verdicts for text in one.evidence]
    assert "the load test itself failed: a customer: KeyError: 'Ball'" in doubts


def test_a_task_that_fails_is_counted_and_convicts_nobody() -> None:
    shop = Shop()
    with serve(shop) as address:
        run = led(address)
        sell(run, shop)
        for _ in range(3):
            run.part.task_failed(ValueError("items[0]: quantity: expected 1"))
        found = closed(run)
    assert worst(found.verdicts) is Outcome.PASS
    told = {"error": "ValueError: items[0]: quantity: expected 1", "count": 3}
    assert found.figures["task_errors"] == [told]
    assert found.figures["exit_code"] == 1


# Workers.


def test_those_who_are_there_share_the_rate_and_the_accounts() -> None:
    given = options(rate="200")
    with serve(Shop()) as address:
        host = f"{address.host}:{address.port}"
        master = OneRun(Board())
        master.lead(given, host, ["b", "d"], {})  # "a" and "c" are gone
        runs = {name: OneRun(Board()) for name in ("b", "d", "late", "stranger")}
        master.roll.expect("late")
        for name, run in runs.items():
            run.join(given, host, name)
    gaps = {}
    for name in ("b", "d"):
        schedule = runs[name].schedule
        assert schedule is not None
        gaps[name] = -schedule.next_ns() + schedule.next_ns()
    assert gaps == {"b": 10_000_000, "d": 10_000_000}  # 100 a second each
    late = runs["late"].schedule
    assert late is not None
    assert not late.is_due(late.next_ns())  # it adds nothing to the rate
    assert runs["b"].next_account() != runs["d"].next_account()
    assert [runs[name].part.worker for name in ("b", "d", "late")] == [0, 1, 2]
    assert not runs["stranger"].is_open
    assert master.schedule is not None


def test_a_worker_hears_that_a_run_was_called_off() -> None:
    run = OneRun(Board())
    run.join(options(shop_run="", shop_team=["a"]), "127.0.0.1:1", "a")
    assert not run.is_open
    assert run.address == NOWHERE


def test_a_worker_without_its_file_of_users_reports_why_it_did_not_take_part(
    tmp_path: Path,
) -> None:
    given = options()
    with serve(Shop()) as address:
        host = f"{address.host}:{address.port}"
        master = OneRun(Board())
        master.lead(given, host, ["a"], {})
        given.shop_users_file = str(tmp_path / "nowhere.csv")
        worker = OneRun(Board())
        with pytest.raises(WrongUsage, match="--shop-users-file") as caught:
            worker.join(given, host, "a")
        worker.part.problems.append(f"a worker did not take part: {caught.value}")
        found = master.close([worker.finish()], 1)
    assert not worker.is_open
    assert worst(found.verdicts) is Outcome.INCONCLUSIVE
    (complete,) = [one for one in found.verdicts if one.rule == "the record of the run is complete"]
    assert any("a worker did not take part" in text for text in complete.evidence)


def reported(run: OneRun, worker: OneRun) -> Report:
    report = worker.finish()
    assert report.tag == run.part.tag
    return report


def test_the_arrivals_of_a_worker_that_died_are_missed() -> None:
    given, shop = options(rate="100"), Shop()
    with serve(shop) as address:
        host = f"{address.host}:{address.port}"
        master = OneRun(Board())
        master.lead(given, host, ["a", "dies"], {})
        worker = OneRun(Board())
        worker.join(given, host, "a")
        sell(worker, shop)
        worker.part.ended_ns = time.monotonic_ns()
        report = reported(master, worker)
        began = time.monotonic_ns()
        report.ended_ns = began + 10 * 10**9
        master.roll._reports["a"] = report
        found = master.close([report], 2)
    assert worst(found.verdicts) is Outcome.INCONCLUSIVE
    assert found.figures["missed_arrivals"] == pytest.approx(500, abs=20)  # half the rate, for 10 s


def test_keys_are_those_of_the_run_and_of_the_worker() -> None:
    shop, given = Shop(), options()
    with serve(shop) as address:
        host = f"{address.host}:{address.port}"
        master = OneRun(Board())
        master.lead(given, host, ["a", "b"], {})
        worker = OneRun(Board())
        worker.join(given, host, "b")
    number, text = worker.part.new_key()
    assert key_number(text, master.part.tag) == (1, number)


def test_it_says_where_it_buys_before_it_does() -> None:
    with serve(Shop()) as address:
        run = led(address)
        assert run.announcement == (
            f"buying for real at {address.host}:{address.port} (sportshop 0.0.0, 1 product)"
            " as ann and 2 more"
        )
        assert led(address, shop_users="ann:senha").announcement.endswith("as ann")


@pytest.mark.parametrize("place", ["/dev/full", "open for reading", ""])
def test_a_summary_that_cannot_be_written_is_told_in_one_line(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not place:  # so does Python say that standard output is closed
        write("audit PASS", None)
        assert not caplog.text
        return
    with ExitStack() as stack:
        if place == "/dev/full":
            stream = stack.enter_context(Path(place).open("w"))
        else:
            descriptor = os.open(os.devnull, os.O_RDONLY)
            stream = stack.enter_context(os.fdopen(descriptor, "w"))
        write("audit PASS", stream)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the summary could not be written" in caplog.text
