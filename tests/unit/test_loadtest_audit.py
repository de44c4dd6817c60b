"""The audit's own requests: what the last lists show, and that nothing keeps it from an end."""

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import _audit
import pytest
from _audit import Audit, CannotAsk
from _keys import key_text
from _options import Account, Address
from _part import Part, Report

from sportshop.audit import Goods, History, Outcome, Told, When, audit
from tests.unit.fake_shop import WELCOME, error, message

TAG = "5ca1ab1e"
MOMENT = "2026-11-23T10:35:18.216Z"
STOCK, PRICE = 5_000, "1.00"
ANSWERS = "every answer fits its request and itself"
DEEP = b'{"code":"%s","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}\n"


class Shop:
    """Sells footballs, one an order; a test overrides what it lies about."""

    old = 0
    """How many orders were placed before the run."""

    def __init__(self) -> None:
        self.taken = self.old
        self.lists: dict[str, list[dict[str, Any]]] = {}

    def sell(self, part: Part, user: str) -> None:
        """Sell one, and write down what the customer would have."""
        self.taken += 1
        number, key = part.new_key()
        left = STOCK - self.taken
        item = {"productName": "Football", "quantity": 1, "price": PRICE, "stockQuantity": left}
        self.enlist(user, self.taken, key, item)
        now = time.monotonic_ns()
        when = When(part.recorder.user(user), now, now + 1)
        told = Told(self.taken, [Goods("Football", 1, 100, left)], 100)
        part.recorder.receipt(when, number, [("Football", 1)], told, self.taken, False)
        part.tokens[user] = user

    def enlist(self, user: str, position: int, key: str, item: dict[str, Any]) -> None:
        entry = {"order": position, "placedAt": MOMENT, "orderKey": key, "total": PRICE}
        self.lists.setdefault(user, []).insert(0, {**entry, "items": [item]})

    def login(self, data: dict[str, Any]) -> tuple[str, bytes]:
        user = data.get("user") or data["token"]
        return user, message("SUCCESS", {**WELCOME, "user": user, "token": user})

    def products(self) -> Iterator[bytes]:
        football = {"name": "Football", "price": PRICE, "stockQuantity": STOCK - self.taken}
        yield message("PRODUCTS_LIST", {"products": [football], "asOf": self.taken})

    def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
        found = [one for one in self.lists.get(user, []) if one["order"] < before][:limit]
        yield from self.pages(found)

    def pages(self, found: list[dict[str, Any]]) -> Iterator[bytes]:
        starts = range(0, len(found), 100) or [0]
        for start in starts:
            data = {"orders": found[start : start + 100], "asOf": self.taken}
            yield message("ORDERS_LIST", data, end=start == starts[-1])


@contextmanager
def serve(shop: Shop) -> Iterator[Address]:
    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            user = ""
            for line in self.rfile:
                request = json.loads(line)
                code, data = request["code"], request["data"]
                if code == "AUTHENTICATION":
                    user, answer = shop.login(data)
                    answers: Any = [answer]
                elif code == "GET_PRODUCTS":
                    answers = shop.products()
                else:
                    answers = shop.orders(user, data.get("before", 2**62), data["limit"])
                try:
                    for answer in answers:
                        self.wfile.write(answer)
                except OSError:
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Conversation) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Address("127.0.0.1", server.server_address[1])
        server.shutdown()


USERS = ("ann", "bob", "idle")


def run(shop: Shop, sold: int = 3, alone: bool = True) -> History:
    """Open the books, sell to ann and bob, and close the books."""
    with serve(shop) as address:
        books = Audit(address, [Account(user, "senha") for user in USERS])
        opening = books.open()
        part = Part(TAG, 0, opening.as_of)
        for number in range(sold):
            shop.sell(part, USERS[number % 2])
        report: Report = part.report()
        return books.close([report], [], {}, alone)


def outcomes(history: History) -> dict[str, tuple[str, ...]]:
    """Return the evidence of the rules that are broken."""
    return {
        verdict.rule: verdict.evidence
        for verdict in audit(history)
        if verdict.outcome is Outcome.FAIL
    }


def convicted(shop: Shop, rule: str, text: str, sold: int = 3) -> None:
    evidence = outcomes(run(shop, sold)).get(rule, ())
    assert any(text in one for one in evidence), evidence


class Old(Shop):
    old = 5

    def __init__(self) -> None:
        super().__init__()
        for position in range(1, 6):
            item = {"productName": "Football", "quantity": 1, "price": PRICE, "stockQuantity": 9}
            self.enlist("ann", position, f"old-{position}", item)


@pytest.mark.parametrize(("shop", "sold"), [(Shop, 3), (Shop, 2_000), (Shop, 2_500), (Old, 30)])
def test_an_honest_shop_passes(shop: type[Shop], sold: int) -> None:
    history = run(shop(), sold)
    assert [str(one) for one in audit(history) if one.outcome is not Outcome.PASS] == []
    assert (list(history.violations), list(history.incomplete)) == ([], [])


def test_lists_cut_short_are_found() -> None:
    class CutShort(Shop):
        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            yield from super().orders(user, before, min(limit, 100))

    convicted(CutShort(), ANSWERS, "though more came below it", sold=300)


def test_a_list_above_its_limit_is_found() -> None:
    class Generous(Shop):
        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            yield from super().orders(user, before, 2 * limit)

    convicted(Generous(), ANSWERS, "has 1100 orders: asked for were 1000", sold=2_200)


def test_an_order_told_on_two_pages_is_found() -> None:
    class Inclusive(Shop):
        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            yield from super().orders(user, before + 1, limit)

    convicted(Inclusive(), ANSWERS, "asked for were those before", sold=2_200)


def test_an_order_in_an_idle_account_is_found() -> None:
    class Leak(Shop):
        def enlist(self, user: str, position: int, key: str, item: dict[str, Any]) -> None:
            super().enlist(user, position, key, item)
            super().enlist("idle", position, key, item)

    convicted(Leak(), "nobody's list holds another's order", "idle")


def test_an_old_order_in_two_lists_is_found() -> None:
    class Leak(Old):
        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            old = self.lists["ann"][-5:] if user == "bob" else []
            yield from self.pages(self.lists.get(user, [])[:limit] + old)

    convicted(Leak(), ANSWERS, "has order 5, which is in ann's list, too")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"placedAt": "yesterday"}, "placed at 'yesterday'"),
        ({"placedAt": None}, "placed at 'None'"),
        ({"orderKey": "00000000-0000" + key_text(0, 1, TAG)[13:]}, "none of ours"),
        ({"total": "1"}, "expected an amount"),
        ({"order": -1}, "Expected `int` >= 0"),
    ],
)
def test_what_is_wrong_in_an_entry_is_found(change: dict[str, object], text: str) -> None:
    class Wrong(Shop):
        def pages(self, found: list[dict[str, Any]]) -> Iterator[bytes]:
            yield from super().pages([{**one, **change} for one in found])

    convicted(Wrong(), ANSWERS, text, sold=1)


@pytest.mark.parametrize("change", [{"user": "root"}, {"protocol": 0}, {"token": None}])
def test_a_login_as_somebody_else_is_found(change: dict[str, object]) -> None:
    class Wrong(Shop):
        def login(self, data: dict[str, Any]) -> tuple[str, bytes]:
            user, _ = super().login(data)
            return user, message("SUCCESS", {**WELCOME, "user": user, "token": user, **change})

    with_token = change.get("token", "") is not None
    if with_token:
        convicted(Wrong(), ANSWERS, "the answer to AUTHENTICATION of ann")
    else:  # not even a string
        with serve(Wrong()) as address, pytest.raises(CannotAsk):
            Audit(address, [Account("ann", "senha")]).open()


def test_a_list_that_is_none_is_found_and_the_others_are_read() -> None:
    class Deep(Shop):
        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            return (
                iter([DEEP % b"ORDERS_LIST"])
                if user == "ann"
                else super().orders(user, before, limit)
            )

    history = run(Deep())
    assert ANSWERS in outcomes(history)
    assert any("order list of ann could not be read" in text for text in history.incomplete)
    assert "bob" in history.users
    assert not any("bob" in text for text in history.incomplete)


@pytest.mark.parametrize("which", ["opening", "closing"])
def test_a_list_of_products_that_is_none_is_found(which: str) -> None:
    class Deep(Shop):
        def products(self) -> Iterator[bytes]:
            is_first = self.taken == self.old
            if is_first == (which == "opening"):
                return iter([DEEP % b"PRODUCTS_LIST"])
            return super().products()

    if which == "closing":
        convicted(Deep(), ANSWERS, "recursion")
        return
    with serve(Deep()) as address:
        books = Audit(address, [Account("ann", "senha")])
        with pytest.raises(CannotAsk, match="recursion"):
            books.open()
        assert ANSWERS in outcomes(books.close([], [], {}, alone=True))


def test_an_error_that_was_not_asked_for_is_found() -> None:
    class Malformed(Shop):
        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            yield error("MALFORMED_MESSAGE")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_audit, "PATIENCE_S_MAX", 0.1)
        convicted(Malformed(), ANSWERS, "MALFORMED_MESSAGE")


def test_lists_without_end_end() -> None:
    class Endless(Shop):
        lowest = 2**60

        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            item = {"productName": "Football", "quantity": 1, "price": PRICE, "stockQuantity": 1}
            entry = {"placedAt": MOMENT, "total": PRICE, "items": [item]}
            self.lowest -= 100
            yield from self.pages([{**entry, "order": self.lowest - n} for n in range(100)])

    convicted(Endless(), ANSWERS, "more orders than there can be")


SLOW_S = 30.0  # for each list


def test_all_the_last_lists_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Shop):
        def orders(self, user: str, before: int, limit: int) -> Iterator[bytes]:
            time.sleep(SLOW_S)
            return iter([])

    monkeypatch.setattr(_audit, "CLOSING_S_MAX", 0.5)
    began = time.monotonic()
    history = run(Slow())
    assert time.monotonic() - began < SLOW_S
    assert any("ann could not be read" in text for text in history.incomplete)
    assert len(history) > 3


def test_whatever_goes_wrong_the_record_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(_audit, "_orders_since", fail)
    history = run(Shop())
    assert any("RuntimeError: no such thing" in text for text in history.incomplete)
    assert len(history) > 3


def test_an_account_that_did_not_shop_need_not_exist() -> None:
    class Strict(Shop):
        def login(self, data: dict[str, Any]) -> tuple[str, bytes]:
            user, answer = super().login(data)
            return user, error("INVALID_CREDENTIALS") if user == "idle" else answer

    assert {one.outcome for one in audit(run(Strict()))} == {Outcome.PASS}
