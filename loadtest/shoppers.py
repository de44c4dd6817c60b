"""Shoppers: the users of the load test. Start reading here.

    make serve                                   # a shop on 127.0.0.1:3333; in another terminal
    locust -f loadtest/                          # with a web UI, or
    locust -f loadtest/ --headless -u 50 -r 50 -t 30s --workload flash-sale
    locust -f loadtest/ --host tcp://127.0.0.1:4444 --headless -u 500 --rate 2000 -t 1m

Every shopper logs in, then goes on as fast as the shop answers or, with --rate, when it is his
turn. What he does is drawn by the workload's weights: he buys, most often the product that
everybody wants, browses, looks at his orders; and he does what breaks careless shops: orders again
with the same key, changes his mind under the same key, orders without waiting, breaks off an order
and hangs up, comes back, and wants what does not exist. "Sold out" is an answer and no failure.

When the run ends, an audit replays everything that the shop answered (sportshop.audit).
Exit codes: 3 the shop broke a rule, and the operations are named; 4 the audit could not decide;
5 an objective (--slo) was missed; 1 requests, or tasks of the workload, failed; 2 wrong usage; 0
all is well.
"""

from _habits import Habits
from _options import Workload
from _shop_user import ShopUser, conductor
from locust.env import Environment


class Shopper(Habits, ShopUser):
    """Does what the workload says."""

    follows_workload = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        weights: Workload = conductor.workload()
        self.tasks = [
            getattr(type(self), name)
            for name, weight in weights._asdict().items()
            for _ in range(weight)
        ]

    tasks = [Habits.buy]  # noqa: RUF012 - Locust warns of a class without; each shopper has his own
