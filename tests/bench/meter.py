"""Meter: how many requests a Locust process makes, counted the same way whatever its users do.

    METER=found.json METER_SECONDS=3 locust -f users.py,tests/bench/meter.py --headless -u 50

When all users are there and have warmed up it reads Locust's own total, once more METER_SECONDS
later, writes what came in between, and ends the run.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment

WARM_UP_S = 1.0


def listen(environment: Environment, **_: Any) -> None:
    environment.events.spawning_complete.add_listener(
        lambda **_: gevent.spawn(measure, environment)
    )


def measure(environment: Environment) -> None:
    gevent.sleep(WARM_UP_S)
    total, began_s, cpu_s = environment.stats.total, time.monotonic(), time.process_time()
    before = total.num_requests
    gevent.sleep(float(os.environ["METER_SECONDS"]))
    made, took_s = total.num_requests - before, time.monotonic() - began_s
    found = {"per_s": made / took_s, "cpu": (time.process_time() - cpu_s) / took_s}
    Path(os.environ["METER"]).write_text(json.dumps(found))
    assert environment.runner is not None
    environment.runner.quit()


events.init.add_listener(listen)
