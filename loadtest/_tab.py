"""Tab: the board in Locust's web UI, live while a run goes on, and what became of it at its end.

The tabs "Stock audit" and "Proof" and a CSV file. In a distributed run the workers' counts come
with the statistics that Locust sends anyway. Knows neither the shop nor the rules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import gevent
from _board import LOOK_S, Board
from _sheet import sheet
from flask import Response, request
from locust.env import Environment
from locust.runners import (
    STATE_CLEANUP,
    STATE_RUNNING,
    STATE_SPAWNING,
    STATE_STOPPED,
    STATE_STOPPING,
    MasterRunner,
    WorkerRunner,
)

STOCK, PROOF = "stock-audit", "proof"
# No column has the key "name": by that one the page would sort the rows, of which order we know
# better. A click on a column's head sorts by it.
COLUMNS = {
    "product": "Product",
    "start": "At start",
    "sold": "Sold",
    "refused": "Orders refused",
    "left": "Left",
    "violations": "Violations",
    "rate": "Accepted/s",
}
RULE_COLUMNS = {"outcome": "Verdict", "rule": "Rule", "found": "Found", "evidence": "Evidence"}
LATER = {"outcome": "", "rule": "The proof is made when the run has ended.", "found": ""}
WORST_FIRST = ("fail", "inconclusive", "pass")
ROWS_MAX = 500  # a page shows no more; the CSV file has all
BOARD = "shop_board"  # in the data of Locust's reports

Rows = Sequence[Mapping[str, Any]]


def share(environment: Environment, board: Board) -> None:
    """Let a worker's counts reach the master's board."""

    def on_report(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001 - Locust's names
        data[BOARD] = board.report()

    def on_worker(client_id: str, data: dict[str, Any]) -> None:
        if BOARD in data:
            board.receive(client_id, data[BOARD])

    if isinstance(environment.runner, WorkerRunner):
        _listen(environment.events.report_to_master, on_report)
    elif isinstance(environment.runner, MasterRunner):
        _listen(environment.events.worker_report, on_worker)


def add_tab(
    environment: Environment, board: Board, rules: Callable[[], Rows], closed: Callable[[], bool]
) -> None:
    """Show the board, and in a second tab `rules`: what the last audit came to.

    `closed`: tells whether the books of the last run are closed, or none was begun.
    """
    ui = environment.web_ui
    assert ui is not None  # noqa: S101 - the caller has looked
    app = ui.app
    assert app is not None  # noqa: S101 - it serves already
    path = f"/{STOCK}/csv"
    prefix = (getattr(environment.parsed_options, "web_base_path", "") or "").rstrip("/")
    ui.template_args |= {
        "extended_tabs": [
            {"title": "Stock audit", "key": STOCK},
            {"title": "Proof", "key": PROOF},
        ],
        "extended_tables": [_table(STOCK, COLUMNS), _table(PROOF, RULE_COLUMNS)],
        "extended_csv_files": [{"href": f".{path}", "title": "Download stock audit CSV"}],
    }

    def extend(response: Response) -> Response:
        """Add our rows to what the page asks for every two seconds while a run goes on."""
        if request.path == f"{prefix}/stats/requests" and response.is_json:
            told = response.get_json()
            told["state"] = state(told["state"], closed=closed())
            told["extended_stats"] = [
                {"key": STOCK, "data": shown(board)},
                {"key": PROOF, "data": proof(rules())},
            ]
            response.set_data(app.json.dumps(told))
        return response

    app.after_request(extend)
    download = ui.auth_required_if_enabled(lambda: _download(board))  # type: ignore[no-untyped-call]
    app.add_url_rule(f"{prefix}{path}", STOCK, download)
    gevent.spawn(_watch, board)


def state(runners: str, *, closed: bool) -> str:
    """Return what to tell the page of the runner's state, so that it shows a run to its end.

    The page asks for figures only while a run is spawning or running. The runner is neither while
    the first product list is read and, after "Stop", until the proof is made: a page that
    happened to ask then would show the figures of that moment for good.
    """
    if not closed:
        return runners if runners in {STATE_SPAWNING, STATE_RUNNING} else STATE_RUNNING
    return STATE_STOPPED if runners in {STATE_CLEANUP, STATE_STOPPING} else runners


def _watch(board: Board) -> NoReturn:
    """Let the board see the time go by, whether a page is open or not."""
    while True:
        gevent.sleep(LOOK_S)
        board.look()


def _table(key: str, columns: Mapping[str, str]) -> dict[str, Any]:
    structure = [{"key": name, "title": title} for name, title in columns.items()]
    return {"key": key, "structure": structure}


def shown(board: Board) -> list[dict[str, Any]]:
    """Return the rows of the page, all products together first."""
    rows = board.rows()
    return [board.total(rows), *rows[:ROWS_MAX]] if rows else []


def proof(rules: Rows) -> Rows:
    """Return the rows of the second tab: what did not pass comes first, in capitals."""
    rows = sorted(rules, key=lambda rule: WORST_FIRST.index(rule["outcome"]))
    return [
        rule if rule["outcome"] == "pass" else {**rule, "outcome": rule["outcome"].upper()}
        for rule in rows
    ] or [LATER]


def _download(board: Board) -> Response:
    headers = {"Content-Disposition": f"attachment; filename={STOCK}.csv"}
    return Response(sheet(board.rows(), COLUMNS), mimetype="text/csv", headers=headers)


def _listen(event: Any, listener: Callable[..., None]) -> None:
    event.add_listener(listener)
