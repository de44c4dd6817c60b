"""Conductor: Locust's events, made into the beginning and the end of a run.

The order of the events differs: with --run-time and with the web UI `test_stop` comes before the
process ends, on Ctrl-C only after the exit code is fixed, and a headless master fires it while
the workers' users still buy. So the books are closed in `test_stop`, which `quitting` brings
about if nobody else has; and a master first asks its workers to finish, and waits for them.
Knows neither the protocol nor the rules of the audit.
"""

import inspect
import itertools
import logging
import os
import secrets
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import locust.stats
from _audit import Audit, CannotAsk
from _buying import Customer
from _figures import figures
from _keys import TAG_CHARACTERS, WORKERS_MAX
from _options import (
    NOWHERE,
    WORKLOADS,
    Account,
    Workload,
    accounts,
    add_options,
    hot_product,
    objectives,
    parse_address,
    rate,
    workload,
)
from _part import Part, Report, Unsettled
from _reports import latency_bucket, rule_row, tell_locust, write_files, write_html
from _schedule import Schedule
from _slo import Slo
from _summary import summary
from _tab import add_tab, share
from _workers import FINISH, REPORT, Roll, send
from gevent.event import Event
from gevent.pool import Pool
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook, Events
from locust.rpc import Message
from locust.runners import STATE_CLEANUP, STATE_STOPPING, MasterRunner, Runner, WorkerRunner

from sportshop.audit import audit
from sportshop.client.deadline import pause_s

AUDIT_S_MAX = 600.0  # how long a process that is told to end waits for an audit in progress
SETTLE_S_MAX = 15.0  # a shop that crashed and is being restarted is up by then
OLD_S_MAX = 3.0
SETTLERS = 20
EXIT_WRONG_USAGE, EXIT_INCONCLUSIVE = 2, 4
WORST_FIRST = (3, 2, 4, 5, 1, 0)

NOT_IN_WEB_UI = ("history", "report", "summary", "slo", "shop_users", "shop_users_file")
"""Options that a run takes from the command line only: files, passwords, what it has to reach."""

_interrupts: list[float] = []
_log = logging.getLogger("loadtest")


class Conductor:
    """One Locust process's part in a run: the whole of it, a worker's, or the master's."""

    def __init__(self) -> None:
        self._part = Part()
        self._address = NOWHERE
        self._accounts: list[Account] = []
        self._numbers = itertools.count()
        self._audit = Audit(NOWHERE, [])
        self._roll = Roll("")
        self._under_way = False
        self._closed = Event()
        self._closed.set()
        self._exit_codes: set[int] = set()
        self._unprinted = ""
        self._about: dict[str, Any] = {}
        self._rules: list[dict[str, Any]] = []
        self._fixed: dict[str, Any] = {}
        self._workload = WORKLOADS["mixed"]
        self._objectives: list[Slo] = []
        self.schedule: Schedule | None = None
        """Of an open workload."""

    def listen(self, events: Events) -> None:
        """Take part in Locust's events, and let it measure finer than by the millisecond."""
        locust.stats.bucket_response_time = latency_bucket  # type: ignore[assignment]  # float
        _listen(events.init_command_line_parser, self._on_parser)
        _listen(events.init, self._on_init)
        _listen(events.test_start, self._on_test_start)
        _listen(events.test_stopping, self._on_test_stopping)
        _listen(events.test_stop, self._on_test_stop)

    # For users.

    def client(self, environment: Environment) -> Customer:
        """Return one more customer, under the next account of this process's own."""
        report = environment.events.request.fire
        return Customer(self._part, self._address, self._next_account(environment), report)

    def hot_product(self, environment: Environment) -> str:
        """Return the name of what nearly everybody wants in this run."""
        return str(_options(environment).shop_hot_product)

    def workload(self) -> Workload:
        """Return what shoppers do in this run."""
        return self._workload

    def _next_account(self, environment: Environment) -> Account:
        """Two workers share an account only where there are fewer accounts than workers."""
        own = self._accounts
        if isinstance(environment.runner, WorkerRunner):
            workers = max(1, _options(environment).shop_workers)
            own = own[environment.runner.worker_index % workers :: workers] or own
        return own[next(self._numbers) % len(own)]

    # Before.

    def _on_parser(self, parser: LocustArgumentParser, **_: Any) -> None:
        add_options(parser)

    def _on_init(self, environment: Environment, **_: Any) -> None:
        options = _options(environment)
        try:
            parse_address(environment.host)
            accounts(options)
            workload(options)
            rate(options)
            self._objectives = objectives(options)
            _check_files(options)
        except (ValueError, OSError) as problem:
            print(f"loadtest: {problem}", file=sys.stderr)
            sys.exit(EXIT_WRONG_USAGE)
        self._fixed = {name: getattr(options, name) for name in NOT_IN_WEB_UI}
        _prepare_process()
        # The newest listener of `quitting` is called first. Ours has to come before a worker's
        # own, which says goodbye to the master.
        _listen(environment.events.quitting, self._on_quitting)
        # The summary has the last word, below Locust's tables.
        _listen(environment.events.quit, lambda **_: self._print(options))
        _listen(environment.events.quit, lambda **_: write_html(environment))
        runner = environment.runner
        if isinstance(runner, MasterRunner):
            runner.register_message(REPORT, self._on_report)
            _listen(environment.events.worker_connect, self._on_worker)
        elif isinstance(runner, WorkerRunner):
            runner.register_message(FINISH, self._on_finish)
        share(environment, self._part.board)
        if environment.web_ui is not None:
            add_tab(environment, self._part.board, lambda: self._rules, self._closed.is_set)

    # The beginning.

    def _on_test_start(self, environment: Environment, **_: Any) -> None:
        """Begin a run, before any of its users does."""
        self._closed.wait(AUDIT_S_MAX)  # the web UI may start a run while the last is audited
        self._under_way = True
        self._closed.clear()
        self._rules = []
        self._part = Part(board=self._part.board)
        options = _options(environment)
        if not isinstance(environment.runner, WorkerRunner):
            vars(options).update(self._fixed)  # whoever reaches the web UI can post anything
        self._accounts = accounts(options)
        try:
            self._address = parse_address(environment.host)
        except ValueError as problem:  # the web UI takes anything
            _log.error("%s", problem)
            self._address = NOWHERE
        runner = environment.runner
        if not isinstance(runner, WorkerRunner):
            # The workers get these with Locust's own options.
            options.shop_run = secrets.token_hex(TAG_CHARACTERS // 2)
            options.shop_hot_product = options.hot_product
            options.shop_workers = len(runner.clients) if isinstance(runner, MasterRunner) else 1
            options.shop_floor = 0
            self._open(environment, options)
        if self._address == NOWHERE:
            return
        self._workload = workload(options)
        worker = runner.worker_index if isinstance(runner, WorkerRunner) else 0
        if worker >= WORKERS_MAX:
            _log.error("more than %d workers: this one does not get to the shop", WORKERS_MAX)
            worker, self._address = WORKERS_MAX, NOWHERE
        board = self._part.board
        board.begin(options.shop_run, self._stock(), options.shop_floor)
        self._part = Part(options.shop_run, worker, options.shop_floor, board)
        self._numbers = itertools.count()
        per_second = rate(options) / max(1, options.shop_workers)
        self.schedule = Schedule(per_second) if per_second else None

    def _stock(self) -> dict[str, int]:
        products = self._audit.opening.products if self._audit.opening else {}
        return {name: stock for name, (_, stock) in products.items()}

    def _open(self, environment: Environment, options: Namespace) -> None:
        self._roll = Roll(options.shop_run)
        if isinstance(environment.runner, MasterRunner):
            for worker in environment.runner.clients:
                self._roll.expect(worker)
        self._audit = Audit(self._address, self._accounts)
        self._about = {
            "host": f"{self._address.host}:{self._address.port}",
            "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        if self._address == NOWHERE:
            _stop_soon(environment)
            return
        try:
            self._about |= {
                "workload": options.workload,
                "weights": workload(options)._asdict(),  # the web UI takes anything here, too
                "rate": rate(options),
                "shape": type(environment.shape_class).__name__ if environment.shape_class else "",
            }
            opening = self._audit.open()
            options.shop_hot_product = hot_product(self._stock(), options.hot_product)
            options.shop_floor = opening.as_of
        except ValueError as problem:
            self._call_off(environment, str(problem))
        except CannotAsk as problem:
            if problem.is_unknown_account:
                user = self._accounts[0].user
                self._call_off(environment, f"--shop-users: the shop refuses {user}: {problem}")
            else:
                _log.error("no test without a shop (`make serve` starts one): %s", problem)
                _stop_soon(environment)

    def _call_off(self, environment: Environment, problem: str) -> None:
        """End a run that was asked for wrongly before it begins: there is nothing to audit."""
        self._address = NOWHERE
        self._under_way = False
        self._closed.set()
        if _options(environment).headless:
            print(f"loadtest: {problem}", file=sys.stderr)
            self._exit_codes.add(EXIT_WRONG_USAGE)
        else:
            _log.error("%s", problem)
        _stop_soon(environment)

    def _on_worker(self, client_id: str, **_: Any) -> None:
        self._roll.expect(client_id)

    # The end.

    def _on_test_stopping(self, **_: Any) -> None:
        """Let nobody else arrive, while those who are there go home."""
        if self.schedule is not None:
            self.schedule.end(time.monotonic_ns())

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        """End a run. Its users have stopped, except a headless master's.

        In a greenlet of its own: a user who ends the run is killed by that, the audit is not, and
        what he had begun to do with the run has to go on after it.
        """
        if self._under_way:
            self._under_way = False
            end = gevent.spawn(self._end, environment)
            try:
                end.join()
            except gevent.GreenletExit:
                end.join()
                gevent.kill(gevent.getcurrent())  # later, as it was meant
        else:
            self._closed.wait(AUDIT_S_MAX)  # a worker may be stopped twice at once

    def _end(self, environment: Environment) -> None:
        runner = environment.runner
        try:
            if isinstance(runner, WorkerRunner):
                send(runner, self._finish())
            elif isinstance(runner, MasterRunner):
                self._roll.collect(runner)
                missing = [f"worker {name} did not report" for name in self._roll.missing()]
                self._close(environment, self._roll.reports(), missing)
            else:
                self._close(environment, [self._finish()], [])
        except Exception:
            _log.exception("the audit failed")
            self._exit_codes.add(EXIT_INCONCLUSIVE)
        finally:
            self._closed.set()

    def _finish(self) -> Report:
        """Settle what is unknown, and return this process's part."""
        self._part.ended_ns = time.monotonic_ns()
        if self.schedule is not None:
            self._part.missed = self.schedule.missed()
            self.schedule = None
        for order in self._part.unsettled.values():
            self._part.waited("NEW_ORDER_ITEM", self._part.ended_ns - order.sent_ns)
        self._settle()
        if self._part.unsettled:
            never = len(self._part.unsettled)
            self._part.failed["NEW_ORDER_ITEM"] += never
            _log.error("%d orders were not answered, though they were sent again", never)
        return self._part.report()

    def _settle(self) -> None:
        """Ask once more for what was sold long ago, then for what has an unknown outcome."""
        part = self._part
        self._ask(part.old_keys, Customer.ask_again, time.monotonic() + OLD_S_MAX)
        gives_up_at = time.monotonic() + SETTLE_S_MAX
        failures = 0
        while part.unsettled and time.monotonic() < gives_up_at:
            before = len(part.unsettled)
            self._ask(list(part.unsettled.values()), Customer.settle, gives_up_at)
            if len(part.unsettled) == before:
                failures += 1
                gevent.sleep(pause_s(failures))

    def _ask(
        self,
        orders: Iterable[Unsettled],
        ask: Callable[[Customer, Unsettled], bool],
        gives_up_at: float,
    ) -> None:
        """Send orders again with their keys, each as its customer."""
        by_account: dict[Account, list[Unsettled]] = {}
        for order in orders:
            by_account.setdefault(order.account, []).append(order)
        pool = Pool(SETTLERS)
        for account, own in by_account.items():
            pool.spawn(_ask_each, Customer(self._part, self._address, account), own, ask)
        pool.join(max(0.0, gives_up_at - time.monotonic()))
        pool.kill()

    def _close(self, environment: Environment, reports: list[Report], missing: list[str]) -> None:
        """Close the books, tell Locust, write the files."""
        options = _options(environment)
        vars(options).update(self._fixed)  # the web UI takes a form also while a run goes on
        assert environment.runner is not None  # noqa: S101 - it ran
        self._about |= {
            "users": environment.runner.target_user_count,
            "workers": options.shop_workers,
            "hot_product": options.shop_hot_product,
        }
        history = self._audit.close(reports, missing, self._about, options.alone)
        began = time.monotonic()
        verdicts = audit(history)
        took = time.monotonic() - began
        found = figures(history, reports, verdicts, took, self._objectives)
        if not write_files(options, history, found):
            found["exit_code"] = found["exit_code"] or 1
        self._exit_codes.add(found["exit_code"])
        self._rules = [rule_row(verdict) for verdict in verdicts]
        self._part.board.end(found["run"]["seconds"])
        self._unprinted = summary(found)
        tell_locust(environment.events.request.fire, verdicts, time.time())
        if options.csv_prefix:  # Locust writes these files once a second, and not at the end
            gevent.sleep(1.5 * locust.stats.CSV_STATS_INTERVAL_SEC)
        if not options.headless:
            self._print(options)

    def _on_report(self, msg: Message, **_: Any) -> None:
        """On the master: a worker reports."""
        self._roll.receive(msg.node_id, msg.data)

    def _on_finish(self, environment: Environment, msg: Message, **_: Any) -> None:
        """On a worker: the master closes the books of the run that bears the tag."""
        runner = environment.runner
        assert isinstance(runner, WorkerRunner)  # noqa: S101 - registered on no other
        if self._under_way:
            _stop(runner)
        elif self._part.tag != msg.data["tag"]:
            send(runner, Part(msg.data["tag"], runner.worker_index).report())  # it had no users

    def _on_quitting(self, environment: Environment, **_: Any) -> None:
        """End the run if nobody has, and fix the exit code while it can be fixed."""
        runner = environment.runner
        assert runner is not None  # noqa: S101 - Locust quits what it has started
        if self._under_way and runner.state not in {STATE_CLEANUP, STATE_STOPPING}:
            _stop(runner)
            self._on_test_stop(environment)  # a master that has not begun does not fire it
        self._closed.wait(AUDIT_S_MAX)
        if not self._closed.is_set():
            self._exit_codes.add(EXIT_INCONCLUSIVE)
        if self._exit_codes:
            worst = next(code for code in WORST_FIRST if code in self._exit_codes)
            if worst:
                environment.process_exit_code = worst

    def _print(self, options: Namespace) -> None:
        """Print the summary, unless it was; where Locust puts its JSON it has no place."""
        if self._unprinted:
            stream = sys.stderr if options.json else sys.stdout
            printable = self._unprinted.encode(stream.encoding, "replace").decode(stream.encoding)
            print(printable, file=stream, flush=True)
        self._unprinted = ""


def _prepare_process() -> None:
    """Let Ctrl-C and the clock do no harm.

    Python raises KeyboardInterrupt wherever it happens to be, and in the middle of an operation
    that would tear the record: so it is raised in the main greenlet, which only waits. And the
    imports took a second in which the event loop did not look at the clock: --run-time would be
    shorter by it.
    """
    inspect.stack()  # Locust calls it at the end of a run, and its first call takes 30 ms
    gevent.signal_handler(signal.SIGINT, _interrupt)
    gevent.get_hub().loop.update_now()


def _interrupt() -> None:
    """End the run at the first Ctrl-C, and not its audit at the second."""
    _interrupts.append(time.monotonic())
    if len(_interrupts) == 2:
        _log.warning("the run is being audited; Ctrl-C once more ends without a verdict")
    else:
        gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())


def _ask_each(
    client: Customer, orders: Iterable[Unsettled], ask: Callable[[Customer, Unsettled], bool]
) -> None:
    try:
        for order in orders:
            if not ask(client, order):
                break
    finally:
        client.hang_up()


def _check_files(options: Namespace) -> None:
    """See that the files that are to be written have a folder. Raises ValueError."""
    for flag in ("history", "report", "summary"):
        path = getattr(options, flag)
        if path and (not os.access(Path(path).parent, os.W_OK) or Path(path).is_dir()):
            raise ValueError(f"--{flag}: {path}: cannot be written there")


def _options(environment: Environment) -> Namespace:
    options = environment.parsed_options
    assert isinstance(options, Namespace)  # noqa: S101 - the `locust` command always parses them
    return options


def _listen(event: EventHook, listener: Callable[..., None]) -> None:
    event.add_listener(listener)  # type: ignore[no-untyped-call]  # Locust's events are untyped


def _stop(runner: Runner) -> None:
    """Stop the users of a run, and let `test_stop` do the rest."""
    if isinstance(runner, MasterRunner):
        runner.stop(send_stop_to_client=False)  # the workers are told to finish in `test_stop`
    else:
        runner.stop()


def _stop_soon(environment: Environment) -> None:
    """Stop a run that is only about to begin; without a web UI that ends the process."""
    runner = environment.runner
    assert runner is not None  # noqa: S101 - it is the runner that begins it
    gevent.spawn(runner.quit if _options(environment).headless else runner.stop)
