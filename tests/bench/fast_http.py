"""The other side of the row `shoppers`: Locust's own fast client, as documented."""

from locust import FastHttpUser, task

from tests.bench.programs import KEYED_ORDER

ORDER = KEYED_ORDER.replace("%k", "0199a1b2-c3d4-7000-8000-000100000000").encode()


class FastShopper(FastHttpUser):
    @task
    def buy(self) -> None:
        self.client.post("/orders", data=ORDER)
