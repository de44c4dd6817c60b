"""Shapes: how many shoppers there shall be, and when it is over. A stand-in for Locust asks."""

import importlib
import sys
from argparse import Namespace
from types import ModuleType

import pytest
from _plan import RUN_S, USERS, planned


def at(seconds: float, users: int | None = 200, run_time: float | None = 100) -> Namespace:
    options = Namespace(num_users=users, run_time=run_time)
    runner = Namespace(environment=Namespace(parsed_options=options))
    return Namespace(runner=runner, get_run_time=lambda: seconds)


@pytest.fixture
def shape(monkeypatch: pytest.MonkeyPatch):
    """Return a function: what a shape says after some seconds of a hundred, with 200 users."""
    stand_in = ModuleType("locust")
    vars(stand_in)["LoadTestShape"] = object
    monkeypatch.setitem(sys.modules, "locust", stand_in)

    def ask(module: str, name: str, seconds: float):
        found = getattr(importlib.import_module(module), name)
        monkeypatch.delitem(sys.modules, module)
        return found.tick(at(seconds))

    return ask


def test_a_plan_comes_from_the_options() -> None:
    plan = planned(at(25))
    assert (plan.users, plan.share, plan.is_over) == (200, 0.25, False)
    assert planned(at(100)).is_over


def test_without_options_there_is_a_plan_too() -> None:
    plan = planned(at(30, users=None, run_time=None))
    assert (plan.users, plan.run_s) == (USERS, RUN_S)


@pytest.mark.parametrize(("seconds", "users"), [(0, 20), (19, 20), (20, 200), (99, 200)])
def test_at_a_flash_sale_everybody_comes_when_it_opens(shape, seconds: float, users: int) -> None:
    assert shape("_shape_flash_sale", "FlashSale", seconds) == (users, 200)


@pytest.mark.parametrize(("seconds", "users"), [(0, 200), (4.9, 200), (5, 20), (9, 20), (10, 200)])
def test_in_a_reconnect_storm_nearly_everybody_leaves_and_returns(
    shape, seconds: float, users: int
) -> None:
    assert shape("_shape_reconnect_storm", "ReconnectStorm", seconds) == (users, 200)


@pytest.mark.parametrize(("seconds", "users"), [(0, 20), (9.9, 20), (10, 40), (95, 200)])
def test_steps_add_a_tenth_after_each_tenth_of_the_time(shape, seconds: float, users: int) -> None:
    assert shape("_shape_steps", "Steps", seconds) == (users, 200)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("_shape_flash_sale", "FlashSale"),
        ("_shape_reconnect_storm", "ReconnectStorm"),
        ("_shape_steps", "Steps"),
    ],
)
def test_every_shape_ends_with_the_run_time(shape, module: str, name: str) -> None:
    assert shape(module, name, 100) is None
