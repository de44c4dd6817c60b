"""Conductor: Locust's events, made into the beginning and the end of a run.

The order of the events differs: with --run-time and with the web UI `test_stop` comes before the
process ends, on Ctrl-C only after the exit code is fixed, and a headless master fires it while
the workers' users still buy. So the books are closed in `test_stop`, which `quitting` brings
about if nobody else has; and a master first asks its workers to finish, and waits for them.
Knows neither the protocol nor the rules of the audit.
"""

import inspect
import logging
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import _buying
import _client
import _wishes
import gevent
import locust.stats
from _audit import CannotAsk
from _board import Board
from _buying import Customer
from _connection import Misused
from _one_run import OneRun
from _options import (
    Workload,
    WrongUsage,
    accounts,
    add_options,
    objectives,
    parse_address,
    rate,
    workload,
)
from _part import Part, Report
from _reports import broken_rule, latency_bucket, rule_row, tell_locust, write_files, write_html
from _schedule import Schedule
from _summary import summary, write
from _tab import add_tab, share
from _workers import FINISH, REPORT, present, send
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook, Events
from locust.rpc import Message
from locust.runners import (
    STATE_CLEANUP,
    STATE_INIT,
    STATE_STOPPED,
    STATE_STOPPING,
    MasterRunner,
    Runner,
    WorkerRunner,
)

AUDIT_S_MAX = 600.0  # how long a process that is told to end waits for an audit in progress
BEGIN_S_MAX = 5.0  # how long a runner takes from `test_start` to where it heeds a stop
LOOK_S = 0.01
EXIT_WRONG_USAGE, EXIT_INCONCLUSIVE = 2, 4
WORST_FIRST = (3, 2, 4, 5, 1, 0)

NOT_IN_WEB_UI = ("history", "report", "summary", "slo", "shop_users", "shop_users_file")
"""Options that a run takes from the command line only: files, passwords, what it has to reach."""
CLIENT_FILES = {_client.__file__, _buying.__file__}

_interrupts: list[float] = []
_log = logging.getLogger("loadtest")


class Conductor:
    """One Locust process's part in its runs, one after the other.

    What belongs to a run is in `OneRun`. Here is only what outlives it: the board that the web UI
    shows, the exit codes of all runs, and what the command line fixed.
    """

    def __init__(self) -> None:
        self._board = Board()
        self._run = OneRun(self._board)
        self._run.is_under_way = False
        self._run.closed.set()
        self._exit_codes: set[int] = set()
        self._fixed: dict[str, Any] = {}

    def listen(self, events: Events) -> None:
        """Take part in Locust's events, and let it measure finer than by the millisecond."""
        locust.stats.bucket_response_time = latency_bucket  # type: ignore[assignment]  # float
        _listen(events.init_command_line_parser, self._on_parser)
        _listen(events.init, self._on_init)
        _listen(events.test_start, self._on_test_start)
        _listen(events.test_stopping, self._on_test_stopping)
        _listen(events.test_stop, self._on_test_stop)
        _listen(events.user_error, self._on_user_error)

    # For users.

    @property
    def schedule(self) -> Schedule | None:
        """The schedule of an open workload."""
        return self._run.schedule

    @property
    def is_open(self) -> bool:
        """Whether shoppers may shop; those of a run that was called off stay away."""
        return self._run.is_open

    def client(self, environment: Environment) -> Customer:
        """Return one more customer, under the next account of this process's own."""
        run = self._run
        report = environment.events.request.fire
        return Customer(run.part, run.address, run.next_account(), report)

    def hot_product(self) -> str:
        """Return the name of what nearly everybody wants in this run."""
        return self._run.hot_product

    def workload(self) -> Workload:
        """Return what shoppers do in this run."""
        return self._run.workload

    def client_failed(self, problem: Exception) -> None:
        """Note that a customer met what it did not foresee: a fault of ours."""
        self._run.fault("a customer", problem)

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
            objectives(options)
            _check_files(options)
        except WrongUsage as problem:
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
        share(environment, self._board)
        if environment.web_ui is not None:
            add_tab(environment, self._board, lambda: self._run.rules, self._is_closed)

    def _is_closed(self) -> bool:
        return self._run.closed.is_set()

    # The beginning.

    def _on_test_start(self, environment: Environment, **_: Any) -> None:
        """Begin a run, before any of its users does. Whatever goes wrong, none of them shops."""
        before = self._run
        before.closed.wait(AUDIT_S_MAX)  # the web UI may start a run while the last is audited
        run = self._run = OneRun(self._board)
        if not before.closed.is_set():
            self._not_begun(environment, run, "the run before this one is still being audited")
            return
        try:
            self._begin(environment, run)
        except WrongUsage as problem:
            self._not_begun(environment, run, str(problem))
        except CannotAsk as problem:
            _log.error("no test without a shop (`make serve` starts one): %s", problem)
            _stop_soon(environment)
        except Exception as problem:
            _log.exception("the run could not begin")
            run.fault("the run could not begin", problem)
            if not isinstance(environment.runner, WorkerRunner):
                _stop_soon(environment)
        except gevent.GreenletExit:  # the web UI was told to stop, or to begin anew, meanwhile
            _log.warning("the run was ended before it had begun")
            run.is_under_way = False
            run.closed.set()  # or the next would wait for it: Locust fires no `test_stop`
            raise

    def _begin(self, environment: Environment, run: OneRun) -> None:
        options, runner = _options(environment), environment.runner
        if isinstance(runner, WorkerRunner):
            run.join(options, environment.host, runner.client_id)
            return
        options.shop_run = ""  # until there is one, workers hear of none: not of the one before
        vars(options).update(self._fixed)  # whoever reaches the web UI can post anything
        team = present(runner) if isinstance(runner, MasterRunner) else []
        run.lead(options, environment.host, team, _about(environment))
        if run.is_open:
            _announce(run, options)

    def _not_begun(self, environment: Environment, run: OneRun, problem: str) -> None:
        """End a run that was asked for wrongly before it begins: there is nothing to audit."""
        if isinstance(environment.runner, WorkerRunner):
            _log.error("%s", problem)
            run.part.problems.append(f"a worker did not take part: {problem}")
            return
        run.is_under_way = False
        run.closed.set()
        if _options(environment).headless:
            print(f"loadtest: {problem}", file=sys.stderr)
            self._exit_codes.add(EXIT_WRONG_USAGE)
        else:
            _log.error("%s", problem)
        _stop_soon(environment)

    def _on_worker(self, client_id: str, **_: Any) -> None:
        if self._run.is_under_way:
            self._run.roll.expect(client_id)

    # In the middle.

    def _on_user_error(self, exception: Exception, tb: TracebackType | None, **_: Any) -> None:
        """Count an exception in a task; one in the middle of the client is a fault of ours."""
        self._run.part.task_failed(exception)
        files = set()
        while tb is not None:
            files.add(tb.tb_frame.f_code.co_filename)
            tb = tb.tb_next
        is_workload_s = _wishes.__file__ in files or isinstance(exception, Misused)
        if files & CLIENT_FILES and not is_workload_s:
            self.client_failed(exception)

    # The end.

    def _on_test_stopping(self, **_: Any) -> None:
        """Let nobody else arrive, while those who are there go home."""
        if self._run.schedule is not None:
            self._run.schedule.end(time.monotonic_ns())

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        """End a run. Its users have stopped, except a headless master's.

        In a greenlet of its own: a user who ends the run is killed by that, the audit is not, and
        what he had begun to do with the run has to go on after it.
        """
        run = self._run
        if run.is_under_way:
            run.is_under_way = False
            end = gevent.spawn(self._end, environment, run)
            try:
                end.join()
            except gevent.GreenletExit:
                end.join()
                gevent.kill(gevent.getcurrent())  # later, as it was meant
        else:
            run.closed.wait(AUDIT_S_MAX)  # a worker may be stopped twice at once

    def _end(self, environment: Environment, run: OneRun) -> None:
        runner = environment.runner
        try:
            if isinstance(runner, WorkerRunner):
                if run.part.tag:
                    send(runner, run.finish())
            elif isinstance(runner, MasterRunner):
                run.roll.collect(runner)
                self._close(environment, run, run.roll.reports())
            else:
                self._close(environment, run, [run.finish()])
        except Exception as problem:
            _log.exception("the audit failed")
            self._exit_codes.add(EXIT_INCONCLUSIVE)
            told = f"the audit itself failed: {type(problem).__name__}: {problem}"
            run.rules = [broken_rule(told)]
            run.unprinted = f"audit     INCONCLUSIVE: {told}"
        finally:
            run.closed.set()

    def _close(self, environment: Environment, run: OneRun, reports: list[Report]) -> None:
        """Close the books, tell Locust, write the files."""
        options = _options(environment)
        vars(options).update(self._fixed)  # the web UI takes a form also while a run goes on
        assert environment.runner is not None  # noqa: S101 - it ran
        history, verdicts, found = run.close(reports, environment.runner.target_user_count)
        code = found["exit_code"]
        if not write_files(options, history, found):
            code = code or 1
        self._exit_codes.add(code)
        run.rules = [rule_row(verdict) for verdict in verdicts]
        self._board.end(found["run"]["seconds"])
        run.unprinted = summary(found)
        tell_locust(environment.events.request.fire, verdicts, time.time())
        if options.csv_prefix:  # Locust writes these files once a second, and not at the end
            gevent.sleep(1.5 * locust.stats.CSV_STATS_INTERVAL_SEC)
        if not options.headless:
            self._print(options)

    def _on_report(self, msg: Message, **_: Any) -> None:
        """On the master: a worker reports."""
        self._run.roll.receive(msg.node_id, msg.data)

    def _on_finish(self, environment: Environment, msg: Message, **_: Any) -> None:
        """On a worker: the master closes the books of the run that has the tag."""
        runner = environment.runner
        assert isinstance(runner, WorkerRunner)  # noqa: S101 - registered on no other
        tag, team = msg.data["tag"], msg.data["team"]
        if self._run.is_under_way:
            _stop(runner)
        elif self._run.part.tag != tag and runner.client_id in team:  # it had no users
            send(runner, Part(tag, team.index(runner.client_id)).report())

    def _on_quitting(self, environment: Environment, **_: Any) -> None:
        """End the run if nobody has, and fix the exit code while it can be fixed."""
        runner, run = environment.runner, self._run
        assert runner is not None  # noqa: S101 - Locust quits what it has started
        if run.is_under_way and runner.state not in {STATE_CLEANUP, STATE_STOPPING}:
            _stop(runner)
            self._on_test_stop(environment)  # a master that has not begun does not fire it
        run.closed.wait(AUDIT_S_MAX)
        if not run.closed.is_set():
            self._exit_codes.add(EXIT_INCONCLUSIVE)
        if self._exit_codes:
            worst = next(code for code in WORST_FIRST if code in self._exit_codes)
            if worst:
                environment.process_exit_code = worst

    def _print(self, options: Namespace) -> None:
        """Print the summary, unless it was; where Locust puts its JSON it has no place."""
        run = self._run
        if run.unprinted:
            write(run.unprinted, sys.stderr if options.json else sys.stdout)
        run.unprinted = ""


def _about(environment: Environment) -> dict[str, Any]:
    """Return what is known of a run before it begins, for people."""
    options, classes = _options(environment), environment.user_classes
    own = [one.__name__ for one in classes if not getattr(one, "follows_workload", False)]
    names = [options.workload] if len(own) < len(classes) else []
    shape = environment.shape_class
    return {
        "workload": " and ".join([*names, *own]),
        "weights": workload(options)._asdict() if names else {},
        "shape": type(shape).__name__ if shape else "",
    }


def _announce(run: OneRun, options: Namespace) -> None:
    """Say where orders go, before the first one does."""
    if options.host or not options.headless:
        _log.info("%s", run.announcement)
    else:
        print(f"loadtest: no --host was given: {run.announcement}", file=sys.stderr, flush=True)


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


def _check_files(options: Namespace) -> None:
    """See that the files that are to be written have a folder. Raises WrongUsage."""
    for flag in ("history", "report", "summary"):
        path = getattr(options, flag)
        if path and (not os.access(Path(path).parent, os.W_OK) or Path(path).is_dir()):
            raise WrongUsage(f"--{flag}: {path}: cannot be written there")


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
    if _options(environment).headless:
        gevent.spawn(runner.quit)
    else:
        gevent.spawn(_stop_when_begun, runner)


def _stop_when_begun(runner: Runner) -> None:
    """Stop a runner as soon as it heeds that: while it only begins to begin it does not."""
    gives_up_at = time.monotonic() + BEGIN_S_MAX
    while runner.state in {STATE_INIT, STATE_STOPPED} and time.monotonic() < gives_up_at:
        gevent.sleep(LOOK_S)
    runner.stop()
