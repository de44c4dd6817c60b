"""A line an event, for people or for machines."""

import json
import logging

import pytest

from sportshop import logs


def record(event: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("sportshop.x", logging.WARNING, "x.py", 1, event, (), None)
    made.created = 1_700_000_000.007
    made.facts = facts
    return made


def test_a_person_reads_time_level_event_and_facts() -> None:
    line = logs.TextFormatter().format(record("the store failed", problem="disk full", orders=3))
    assert line == (
        '2023-11-14T22:13:20.007Z WARNING the store failed problem="disk full" orders=3'
    )


def test_a_machine_reads_an_object() -> None:
    line = logs.JsonFormatter().format(record("stopped", name="é\n", at={1}))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.007Z",
        "level": "WARNING",
        "event": "stopped",
        "name": "é\n",
        "at": "{1}",
    }


def test_a_line_break_in_a_fact_makes_no_second_line() -> None:
    for problem in ("a\nFAKE b", "a\nb"):
        assert "\n" not in logs.TextFormatter().format(record("x", problem=problem))


@pytest.fixture
def _restored() -> object:
    logger = logging.getLogger("sportshop")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before[0], before[1], before[2]


@pytest.mark.usefixtures("_restored")
def test_events_go_to_stderr_only(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "INFO")
    logging.getLogger("sportshop.server").info("listening")
    logging.getLogger("sportshop.server").debug("a detail")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("INFO listening\n")
    assert len(err.splitlines()) == 1
