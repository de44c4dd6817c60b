"""Conductor: Locust's events, made into the beginning and the end of a run.

The order of the events differs: with --run-time and with the web UI `test_stop` comes before the
process ends, on Ctrl-C only after the exit code is fixed, and a headless master fires it while
the workers' users still buy. So the books are closed in `test_stop`, which `quitting` brings
about if nobody else has; and a master first asks its workers to finish, and waits for them.
Knows neither the protocol nor the rules of the audit.
"""

import itertools
import logging
import secrets
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import gevent
import locust.stats
from _audit import Audit
from _customer import Customer
from _options import NOWHERE, Account, accounts, add_options, hot_product, parse_address
from _reports import exit_code, tell_locust
from _summary import latency_bucket, summary
from _tally import Tally, merge
from _workers import FINISH, TALLY, Roll, report
from gevent.event import Event
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook, Events
from locust.rpc import Message
from locust.runners import STATE_CLEANUP, STATE_STOPPING, MasterRunner, Runner, WorkerRunner

from sportshop.audit import Outcome, worst
from sportshop.audit.history import KEY_TAG_CHARACTERS
from sportshop.client import ShopError

AUDIT_S_MAX = 300.0  # how long a process that is told to end waits for an audit in progress

_log = logging.getLogger("loadtest")


class Conductor:
    """One Locust process's part in a run: the whole of it, a worker's, or the master's."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._address = NOWHERE
        self._accounts: list[Account] = []
        self._numbers = itertools.count()
        self._audit = Audit(NOWHERE, [])
        self._roll = Roll("")
        self._under_way = False
        self._closed = Event()
        self._closed.set()
        self._outcomes: set[Outcome] = set()
        self._unprinted = ""

    def listen(self, events: Events) -> None:
        """Take part in Locust's events, and let it measure finer than by the millisecond."""
        locust.stats.bucket_response_time = latency_bucket  # type: ignore[assignment]  # float
        _listen(events.init_command_line_parser, self._on_parser)
        _listen(events.init, self._on_init)
        _listen(events.test_start, self._on_test_start)
        _listen(events.test_stop, self._on_test_stop)

    def customer(self, environment: Environment) -> Customer:
        """Return one more customer, under the next account: as few share one as possible."""
        report = environment.events.request.fire
        return Customer(self._address, self._next_account(environment), self._tally, report)

    def _next_account(self, environment: Environment) -> Account:
        number = next(self._numbers)
        if isinstance(environment.runner, WorkerRunner):
            workers = max(1, _options(environment).expect_workers)
            number = environment.runner.worker_index + number * workers
        return self._accounts[number % len(self._accounts)]

    def hot_product(self, environment: Environment) -> str:
        """Return the name of what nearly everybody wants in this run."""
        return str(_options(environment).shop_hot_product)

    def _on_parser(self, parser: LocustArgumentParser, **_: Any) -> None:
        add_options(parser)

    def _on_init(self, environment: Environment, **_: Any) -> None:
        try:
            parse_address(environment.host)
            accounts(_options(environment))
        except (ValueError, OSError) as problem:
            print(f"loadtest: {problem}", file=sys.stderr)
            sys.exit(2)
        # The newest listener of `quitting` is called first. Ours has to come before a worker's
        # own, which says goodbye to the master.
        _listen(environment.events.quitting, self._on_quitting)
        # The summary has the last word, below Locust's tables.
        _listen(environment.events.quit, lambda **_: self._print(_options(environment)))
        runner = environment.runner
        if isinstance(runner, MasterRunner):
            runner.register_message(TALLY, self._on_tally)
            _listen(environment.events.worker_connect, self._on_worker)
        elif isinstance(runner, WorkerRunner):
            runner.register_message(FINISH, self._on_finish)

    # The beginning.

    def _on_test_start(self, environment: Environment, **_: Any) -> None:
        """Begin a run, before any of its users does."""
        self._under_way = True
        self._closed.clear()
        options = _options(environment)
        self._accounts = accounts(options)
        try:
            self._address = parse_address(environment.host)
        except ValueError as problem:  # the web UI takes anything
            _log.error("%s", problem)
            self._address = NOWHERE
        if not isinstance(environment.runner, WorkerRunner):
            # The workers get these with Locust's own options.
            options.shop_run = secrets.token_hex(KEY_TAG_CHARACTERS // 2)
            options.shop_hot_product = options.hot_product
            self._open(environment, options)
        self._tally = Tally(options.shop_run)
        self._numbers = itertools.count()

    def _open(self, environment: Environment, options: Namespace) -> None:
        self._roll = Roll(options.shop_run)
        if isinstance(environment.runner, MasterRunner):
            for worker in environment.runner.clients:
                self._roll.expect(worker)
        self._audit = Audit(self._address, self._accounts)
        if self._address == NOWHERE:
            return _stop_soon(environment)
        try:
            options.shop_hot_product = hot_product(self._audit.open(), options.hot_product)
        except (ShopError, ValueError) as problem:
            _log.error("no test without a shop (`make serve` starts one): %s", problem)
            _stop_soon(environment)
        return None

    def _on_worker(self, client_id: str, **_: Any) -> None:
        self._roll.expect(client_id)

    # The end.

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        """End a run. Its users have stopped, except a headless master's."""
        if not self._under_way:
            return
        self._under_way = False
        runner = environment.runner
        try:
            if isinstance(runner, WorkerRunner):
                report(runner, self._tally)
            elif isinstance(runner, MasterRunner):
                self._roll.collect(runner)
                missing = [f"worker {name} did not report" for name in self._roll.missing()]
                self._close(environment, self._roll.tallies(), missing)
            else:
                self._close(environment, [self._tally], [])
        finally:
            self._closed.set()

    def _close(self, environment: Environment, tallies: list[Tally], missing: list[str]) -> None:
        """Close the books, and tell Locust."""
        options = _options(environment)
        tally = merge(options.shop_run, tallies)
        verdicts = self._audit.close(tally, missing)
        self._outcomes.add(worst(verdicts))
        self._unprinted = summary(environment.stats, tally, verdicts)
        tell_locust(environment.events.request.fire, verdicts, time.time())
        if not options.headless:
            self._print(options)

    def _on_tally(self, msg: Message, **_: Any) -> None:
        """On the master: a worker reports."""
        self._roll.receive(msg.node_id, msg.data["data"])

    def _on_finish(self, environment: Environment, msg: Message, **_: Any) -> None:
        """On a worker: the master closes the books of the run that bears the tag."""
        runner = environment.runner
        assert isinstance(runner, WorkerRunner)  # noqa: S101 - registered on no other
        if self._under_way:
            _stop(runner)
        elif self._tally.tag != msg.data["tag"]:
            report(runner, Tally(msg.data["tag"]))  # it had no users in this run

    def _on_quitting(self, environment: Environment, **_: Any) -> None:
        """End the run if nobody has, and fix the exit code while it can be fixed."""
        runner = environment.runner
        assert runner is not None  # noqa: S101 - Locust quits what it has started
        if self._under_way and runner.state not in {STATE_CLEANUP, STATE_STOPPING}:
            _stop(runner)
        else:
            self._closed.wait(AUDIT_S_MAX)
        if not self._closed.is_set():
            self._outcomes.add(Outcome.INCONCLUSIVE)
        code = exit_code(self._outcomes)
        if code is not None:
            environment.process_exit_code = code

    def _print(self, options: Namespace) -> None:
        """Print the summary, unless it was; where Locust puts its JSON it has no place."""
        if self._unprinted:
            print(self._unprinted, file=sys.stderr if options.json else sys.stdout, flush=True)
        self._unprinted = ""


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
