"""Verify: the audit of a recorded run, offline: `sportshop verify HISTORY`.

The load test writes a history with `--history`. Its texts come from the shop that was tested, so
none of them reaches the terminal uncleaned. Knows no rule.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from sportshop.display import Failed, clean, say

if TYPE_CHECKING:
    from sportshop.audit import History, Verdict

EXIT_CODES = {"pass": 0, "fail": 3, "inconclusive": 4}
"""The same as the load test's."""
Told = Callable[[int, int, str], None]


class Unreadable(Failed):
    """There is nothing to verify."""

    exit_code = 2


@click.command()
@click.argument("history", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def verify(history: Path, as_json: bool) -> None:
    """Audit a run from its record, the file HISTORY that `locust … --history HISTORY` wrote.

    Exit codes: 0 every rule holds; 3 the shop broke a rule, and the operations are named; 4
    nobody can tell; 2 HISTORY is no history.
    """
    try:
        from sportshop import audit  # noqa: PLC0415 - the only command that needs NumPy
    except ModuleNotFoundError as problem:
        raise Unreadable(
            f"verify needs {problem.name}: pip install 'sportshop[loadtest]'"
        ) from None
    if history.is_fifo():
        raise Unreadable(f"{history}: a pipe, and a history has to be a file")
    began = time.monotonic()
    with _progress() as told:
        try:
            told(0, 1, f"reading {history}")
            record = audit.load(history)
        except audit.BadHistory as problem:
            raise Unreadable(clean(str(problem))) from None
        verdicts = audit.audit(record, told)
    outcome = str(audit.worst(verdicts))
    show = _as_json if as_json else _as_text
    for line in show(record, verdicts, outcome, time.monotonic() - began).split("\n"):
        say(line)
    sys.exit(EXIT_CODES[outcome])


@contextmanager
def _progress() -> Iterator[Told]:
    """Yield a function that shows how far it is, if a person watches."""
    # Only here: other commands need no rich.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = TextColumn("{task.description}"), BarColumn()
    console = Console(stderr=True)
    off = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as bar:
        task = bar.add_task("")

        def told(done: int, of: int, name: str) -> None:
            bar.update(task, completed=done, total=of, description=clean(name.replace("_", " ")))
            bar.refresh()

        yield told


def _as_text(record: "History", verdicts: Sequence["Verdict"], outcome: str, seconds: float) -> str:
    kept = sum(verdict.outcome == "pass" for verdict in verdicts)
    about = [str(record.about[name]) for name in ("host", "started_at") if name in record.about]
    return "\n".join(
        [
            *map(str, verdicts),
            "",
            f"{outcome.upper()}: {kept} of {len(verdicts)} rules hold for {len(record):,}"
            f" operations, checked in {seconds:.1f} s{''.join(f', {known}' for known in about)}",
        ]
    )


def _as_json(record: "History", verdicts: Sequence["Verdict"], outcome: str, seconds: float) -> str:
    told = {
        "outcome": outcome,
        "operations": len(record),
        "seconds": round(seconds, 3),
        "verdicts": msgspec.to_builtins(verdicts),
    }
    return json.dumps(told, indent=1)
