"""A customer of the load test, before a shop that does what a test tells it to."""

import threading

import gevent
import pytest
from _buying import Customer
from _client import ShopClient
from _options import Account, parse_address
from _part import Part
from _requests import NO_PRODUCT

from sportshop.audit import Kind, merge
from tests.unit.fake_shop import FakeShop, Peer, error

TAG = "5ca1ab1e"
FOOTBALL = (("Football", 1),)


def customer(shop: FakeShop, part: Part) -> Customer:
    address = parse_address(f"127.0.0.1:{shop.port}")
    return Customer(part, address, Account("ann", "senha"), report=lambda **_: None)


def kinds(part: Part) -> list[Kind]:
    return [Kind(kind) for kind in merge([part.recorder.block()]).operations["kind"]]


def welcome(peer: Peer) -> None:
    peer.welcome(user="ann")


@pytest.mark.parametrize("ask", [lambda one: one.buy(FOOTBALL), lambda one: one.products()])
def test_a_wait_that_is_cut_short_ends_the_connection_so_that_no_other_request_takes_the_answer(
    ask,
) -> None:
    """`with gevent.Timeout(…)` in a workload, which then goes on."""
    given_up = threading.Event()

    def late(peer: Peer) -> None:
        welcome(peer)
        peer.hear_anything()
        assert given_up.wait(5)
        peer.reset()

    def again(peer: Peer) -> None:
        welcome(peer)
        peer.sell()

    part = Part(TAG)
    with FakeShop(late, again) as shop:
        one = customer(shop, part)
        one.log_in()
        with gevent.Timeout(0.05, False):
            ask(one)
        given_up.set()
        assert one._connection is None
        assert one.buy(FOOTBALL) is Kind.ACCEPTED
        one.hang_up()
    assert kinds(part)[-1] is Kind.ACCEPTED
    assert part.report().block.violations == []
    assert part.report().block.remarks == []


@pytest.mark.parametrize("reason", ["RATE_LIMITED", "LIMIT_REACHED", "NOT_ON_SALE", "BUSY"])
def test_an_order_that_is_refused_for_another_reason_is_not_placed_and_failed(reason: str) -> None:
    def shop(peer: Peer) -> None:
        welcome(peer)
        peer.hear("NEW_ORDER_ITEM")
        peer.say(error(reason, productName="Football", limitPerUser=2))
        peer.sell()

    part = Part(TAG)
    with FakeShop(shop) as there:
        one = customer(there, part)
        one.log_in()
        assert one.buy(FOOTBALL) is Kind.NOT_DONE
        assert one.buy(FOOTBALL) is Kind.ACCEPTED
        one.hang_up()
    assert part.failed == {"NEW_ORDER_ITEM": 1}
    assert len(part.report().failed_ns) == 1
    assert part.report().block.violations == []


def test_kinds_of_failures_are_few_and_clean_whatever_the_shop_calls_them() -> None:
    told: list[str] = []

    def shop(peer: Peer) -> None:
        welcome(peer)
        for number in range(300):
            peer.hear("NEW_ORDER_ITEM")
            peer.say(error(f"\x1b[2J{number}" + "x" * 5_000))

    part = Part(TAG)
    with FakeShop(shop) as there:
        address = parse_address(f"127.0.0.1:{there.port}")
        one = ShopClient(
            part,
            address,
            Account("ann", "senha"),
            report=lambda **facts: told.append(repr(facts["exception"])),
        )
        one.log_in()
        for _ in range(300):
            one.buy(FOOTBALL)
        one.hang_up()
    assert 50 < len(set(told)) <= 103
    assert not any("\x1b" in text or len(text) > 200 for text in told)


def test_what_one_run_has_logged_does_not_silence_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def shop(peer: Peer) -> None:
        welcome(peer)
        for _ in range(10):
            peer.hear("NEW_ORDER_ITEM")
            peer.say(error("BUSY"))

    for _ in range(2):
        caplog.clear()
        with FakeShop(shop) as there:
            one = customer(there, Part(TAG))
            one.log_in()
            for _ in range(10):
                one.buy(FOOTBALL)
            one.hang_up()
        assert caplog.text.count("NEW_ORDER_ITEM: BUSY") == 5


@pytest.mark.parametrize("has_it", [True, False])
def test_what_is_meant_for_no_product_may_be_one_of_the_shop(has_it: bool) -> None:
    def sold_out(peer: Peer) -> None:
        welcome(peer)
        peer.hear("NEW_ORDER_ITEM")
        facts = {"productName": NO_PRODUCT, "requested": 1, "available": 0, "asOf": 0}
        peer.say(error("INSUFFICIENT_STOCK", **facts))

    part = Part(TAG)
    if has_it:
        part.spellings.learn(NO_PRODUCT)
    with FakeShop(sold_out) as shop:
        one = customer(shop, part)
        assert one.buy(((NO_PRODUCT, 1),)) is Kind.SOLD_OUT
        one.hang_up()
    assert bool(part.report().block.remarks) is not has_it
