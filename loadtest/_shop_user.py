"""Shop user: a Locust user who is a customer of the shop. Subclass it for a workload of your own.

    # _my_workload.py, in this folder: locust -f loadtest/_my_workload.py
    from _shop_user import ShopUser
    from locust import task

    class Collector(ShopUser):
        @task(3)
        def collect(self):
            self.shop.buy((("Football", 1), ("Yoga Mat", 2)))

        @task
        def look(self):
            self.shop.products()

The audit comes with it: whatever goes through `self.shop` is measured and recorded. What the shop
would rightly refuse to read, such as a quantity of 0, is a ValueError or TypeError in the task that
asked for it: nothing is sent, the summary counts it, and the shop is not blamed.
"""

import sys
import time

from _alarm import Alarm
from _buying import Customer
from _conductor import EXIT_WRONG_USAGE, Conductor
from _options import HOST
from gevent import GreenletExit, sleep
from locust import User, events
from locust.env import Environment
from locust.user.task import DefaultTaskSet

FAILED_S = 1.0  # after a task that raised an exception, where there is no schedule to keep

alarm = Alarm()
conductor = Conductor()
conductor.listen(events)


class ShopUser(User):
    """A Locust user who is a customer of the shop: subclass it to write a workload of your own.

    `self.shop` is his client. In an open workload a task's first request counts from its turn.
    """

    abstract = True
    host = HOST
    follows_workload = False
    """Whether `--workload` says what this user does."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.shop: Customer = conductor.client(environment)
        self.hot = conductor.hot_product()
        self.seen: list[str] = [self.hot]

    def on_start(self) -> None:
        """Log in. Patiently: an exception here would end this user for good."""
        self._taskset_instance = Rounds(self)
        if not conductor.is_open:
            raise GreenletExit
        try:
            self.shop.log_in()  # Locust takes Unwelcome for this user's end, as any GreenletExit
        except Exception as problem:
            conductor.client_failed(problem)
            raise
        self.wait()  # type: ignore[no-untyped-call]  # Locust has no types there

    def on_stop(self) -> None:
        """Go home; who was waiting for his turn gives it back, or his answer, counts till now."""
        schedule, turn_ns = conductor.schedule, self.shop.intended_ns
        if schedule is not None and turn_ns:
            if schedule.is_due(turn_ns):
                self.shop.give_up()
            else:
                schedule.give_back(turn_ns)
        self.shop.hang_up()

    def wait_time(self) -> float:
        """Return the seconds until the next task: none, or those until the next arrival is due."""
        if conductor.schedule is None:
            return 0.0
        self.shop.intended_ns = conductor.schedule.next_ns()
        return max(0.0, (self.shop.intended_ns - time.monotonic_ns()) / 1e9)


def check_pauses(environment: Environment, **_: object) -> None:
    """See that nobody has pauses of his own in an open workload: the schedule would not be kept."""
    options = environment.parsed_options
    for user in environment.user_classes:
        own = issubclass(user, ShopUser) and user.wait_time is not ShopUser.wait_time
        if own and options is not None and str(options.rate or "").strip():
            print(
                f"loadtest: --rate: {user.__name__} has a wait_time of its own: leave it out,"
                " the schedule tells when a task begins",
                file=sys.stderr,
            )
            sys.exit(EXIT_WRONG_USAGE)


events.init.add_listener(check_pauses)  # type: ignore[no-untyped-call]  # Locust's are untyped


class Rounds(DefaultTaskSet):
    """A user's tasks, as Locust runs them, but for the pauses between them.

    They are as short as they were meant to be. Who goes on at once still yields, or a task that
    fails at once would stop everybody; but not if he has waited for an answer meanwhile: that
    would be a tenth of a request.
    """

    def __init__(self, user: ShopUser) -> None:
        super().__init__(user)
        self._shop = user.shop
        self._answered_ns = 0
        self.has_failed = False

    def _sleep(self, seconds: float) -> None:
        answered_ns = self._shop.answered_ns
        if self.has_failed and not seconds:
            sleep(FAILED_S)
        elif seconds and self._shop.intended_ns > time.monotonic_ns():
            alarm.sleep_until(self._shop.intended_ns)
        elif seconds or answered_ns == self._answered_ns:
            sleep(seconds)
        self._answered_ns = answered_ns
        self.has_failed = False


def on_user_error(user_instance: object, **_: object) -> None:
    """Let who has just failed pause: a task that always fails would fill the log."""
    if isinstance(user_instance, Rounds):
        user_instance.has_failed = True


events.user_error.add_listener(on_user_error)  # type: ignore[no-untyped-call]  # the same
