"""The runner of the protocol vectors convicts a shop that strays, and the vectors keep their rules.

A scripted shop with one planted fault stands in for the real one, over a real socket.
"""

import csv
import json
import socket
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.system import vectors
from tests.system.vectors import Dialogue, Step

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "data"
SHORT_S = 0.3  # how long the runner waits for an answer that a planted fault withholds
HANG_UP = object()

ASK = {"send": {"code": "GET_PRODUCTS"}}
REFUSED = {"expect": {"code": "ERROR", "data": {"reason": "NOT_AUTHENTICATED"}, "endOfData": True}}
BOUGHT = {"expect": {"code": "SUCCESS", "data": {"order": {"$type": "integer"}}}}


def answer(code, **data):
    return json.dumps({"code": code, "data": data, "endOfData": True}).encode() + b"\n"


def error(reason, retryable=False):
    return answer("ERROR", reason=reason, message="No.", retryable=retryable)


@contextmanager
def scripted_shop(replies):
    """Answer each line that comes with the next reply, which may be to hang up."""
    script = iter(replies)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, script))
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which a mere close does not
            thread.join()


def serve(listener, script):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(ConnectionError):  # a runner that has seen enough resets it
            converse(connection, script)


def converse(connection, script):
    with connection.makefile("rb") as lines:
        for _ in lines:
            reply = next(script, b"")
            if reply is HANG_UP:
                return
            connection.sendall(reply)


def play(steps, replies):
    numbered = tuple(Step(str(number), step) for number, step in enumerate(steps, 1))
    with scripted_shop(replies) as (host, port):
        vectors.play(Dialogue("the dialogue", "some.json", numbered), host, port, SHORT_S)


def convict(steps, replies):
    with pytest.raises(AssertionError) as caught:
        play(steps, replies)
    return str(caught.value)


def test_a_shop_that_keeps_to_the_dialogue_is_acquitted():
    play([ASK, REFUSED, ASK, REFUSED], [error("NOT_AUTHENTICATED")] * 2)


def test_a_shop_that_closes_when_it_should_is_acquitted():
    play([ASK, {"expectClosed": True}], [HANG_UP])


def test_the_verdict_tells_dialogue_file_step_and_what_came():
    verdict = convict([ASK, REFUSED], [error("MALFORMED_MESSAGE")])
    assert "the dialogue [some.json], step 2: " in verdict
    assert "answer.data.reason: expected 'NOT_AUTHENTICATED', got 'MALFORMED_MESSAGE'" in verdict
    assert '"message": "No."' in verdict


NOT_CLOSED = [ASK, REFUSED, {"expectClosed": True}]
SOLD = {"expect": {"code": "SUCCESS", "data": {"price": "149.90", "orderKey": {"$absent": True}}}}
FAULTS = {
    "another reason": ([ASK, REFUSED], [error("BUSY", True)], "step 2: "),
    "another code": ([ASK, REFUSED], [answer("SUCCESS")], "answer.code: expected 'ERROR'"),
    "no answer": ([ASK, REFUSED], [b""], "nothing came within 0.3 s"),
    "no second answer": ([ASK, ASK, REFUSED, REFUSED], [error("NOT_AUTHENTICATED")], "step 4: "),
    "an answer too many": (
        [ASK, REFUSED],
        [error("NOT_AUTHENTICATED") * 2],
        "step at the end: ",
    ),
    "half an answer too many": (
        [ASK, REFUSED],
        [error("NOT_AUTHENTICATED") + b'{"co'],
        'expected nothing more\n  came {"co',
    ),
    "an answer too many before a reconnect": (
        [ASK, REFUSED, {"reconnect": True}],
        [error("NOT_AUTHENTICATED") * 2],
        "step 3: ",
    ),
    "closed in place of an answer": ([ASK, REFUSED], [HANG_UP], "the connection was closed"),
    "closed within an answer": ([ASK, REFUSED, ASK], [b'{"code":', HANG_UP], "step 2: "),
    "not closed": (NOT_CLOSED, [error("NOT_AUTHENTICATED")], "step 3: "),
    "said more before it closed": (
        NOT_CLOSED,
        [error("NOT_AUTHENTICATED") * 2],
        "expected the connection to be closed",
    ),
    "another value": ([ASK, SOLD], [answer("SUCCESS", price="149.9")], "got '149.9'"),
    "a field missing": ([ASK, SOLD], [answer("SUCCESS")], "data.price: expected '149.90', got no"),
    "a field that should not be there": (
        [ASK, SOLD],
        [answer("SUCCESS", price="149.90", orderKey="k")],
        "answer.data.orderKey: expected 'no such field', got 'k'",
    ),
    "another type": ([ASK, BOUGHT], [answer("SUCCESS", order="1")], "of type integer"),
    "true for an integer": ([ASK, BOUGHT], [answer("SUCCESS", order=True)], "of type integer"),
    "more to follow at the end": (
        [ASK, REFUSED],
        [error("NOT_AUTHENTICATED").replace(b"true}", b"false}")],
        "answer.endOfData: expected True, got False",
    ),
    "the end mark no boolean": (
        [ASK, REFUSED],
        [error("NOT_AUTHENTICATED").replace(b"true}", b"1}")],
        "endOfData to be a boolean",
    ),
    "not JSON": ([ASK, REFUSED], [b"sorry\n"], "not UTF-8 or not JSON"),
    "not UTF-8": ([ASK, REFUSED], [b'{"code":"\xff"}\n'], "not UTF-8 or not JSON"),
    "not an object": ([ASK, REFUSED], [b"[]\n"], "expected an object"),
    "a client's code": ([ASK, REFUSED], [answer("GET_PRODUCTS")], "one of the shop's codes"),
    "an ERROR without a message": (
        [ASK, REFUSED],
        [answer("ERROR", reason="NOT_AUTHENTICATED", retryable=False)],
        "a reason and a message",
    ),
    "retryable that is not": (
        [ASK, REFUSED],
        [error("NOT_AUTHENTICATED", True)],
        "expected retryable to be False",
    ),
    "an answer longer than a frame": (
        [ASK, REFUSED],
        [b" " * 65_536 + error("NOT_AUTHENTICATED")],
        "longer than a frame",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_shop_with_a_planted_fault_is_convicted(fault):
    steps, replies, told = FAULTS[fault]
    assert told in convict(steps, replies)


def test_a_saved_value_is_expected_and_sent_again():
    first = {**BOUGHT, "save": {"order": "data.order"}}
    then = {"expect": {"code": "SUCCESS", "data": {"order": {"$saved": "order+1"}}}}
    again = {"send": {"code": "GET_ORDERS", "data": {"before": {"$saved": "order"}}}}
    play([ASK, first, again, then], [answer("SUCCESS", order=7), answer("SUCCESS", order=8)])
    verdict = convict([ASK, first, ASK, then], [answer("SUCCESS", order=7)] * 2)
    assert "answer.data.order: expected 8, got 7" in verdict


def test_what_is_sent_reaches_the_shop_byte_for_byte():
    listener = socket.create_server(("127.0.0.1", 0))
    conversation = vectors.Conversation("127.0.0.1", listener.getsockname()[1], SHORT_S)
    connection, _ = listener.accept()
    conversation.send({"send": ['{"a":1.0}', {"name": "Bola de Vôlei", "quantity": 1}]})
    conversation.send_text({"sendText": "no LF"})
    conversation.send_hex({"sendHex": "00ff0d0a"})
    conversation.send_repeat({"sendRepeat": {"text": "ab", "times": 3}})
    conversation.close()
    with listener, connection, connection.makefile("rb") as received:
        assert received.read() == (
            '{"a":1.0}\n{"name":"Bola de Vôlei","quantity":1}\nno LF'.encode()
            + b"\x00\xff\r\nababab"
        )


PRODUCTS = [{"name": "B", "left": 2}, {"name": "a", "left": 0}]
HOLDS = [
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": {"b": [1, {"c": None}]}}, {"a": {"b": [1, {"c": None, "d": 1}]}}),
    ({"a": {"$absent": True}}, {}),
    ({"$type": "boolean"}, True),
    ({"$regex": "[0-9]+\\.[0-9]{2}"}, "149.90"),
    ({"$saved": "list"}, [1, {"b": 1, "a": True}]),
    ({"$saved": "number-3"}, 4),
    ({"$atLeast": 1}, 1),
    ({"$length": 2, "$sortedBy": "name", "$each": {"left": {"$atLeast": 0}}}, PRODUCTS),
    ({"$contains": [{"name": "a"}, {"left": 2}]}, PRODUCTS),
    ({"$excludes": [{"name": "b"}, {"left": 1}]}, PRODUCTS),
]
FAILS = [
    ({"a": 1}, {"a": True}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1}, [1]),
    ({"a": None}, {}),
    ([1], [1, 2]),
    ([1, 2], [2, 1]),
    ([], {}),
    ({"$type": "integer"}, 1.5),
    ({"$type": "string"}, None),
    ({"$regex": "[0-9]+"}, "1 "),
    ({"$regex": "[0-9]+"}, 1),
    ({"$saved": "list"}, [1, {"b": 1, "a": 1}]),
    ({"$atLeast": 1}, 0),
    ({"$atLeast": 1}, True),
    ({"$length": 1}, PRODUCTS),
    ({"$length": 0}, {}),
    ({"$each": {"left": {"$atLeast": 1}}}, PRODUCTS),
    ({"$each": {}}, None),
    ({"$sortedBy": "left"}, PRODUCTS),
    ({"$sortedBy": "name"}, PRODUCTS[::-1]),
    ({"$sortedBy": "name"}, [{}]),
    ({"$contains": [{"name": "a"}, {"name": "b"}]}, PRODUCTS),
    ({"$contains": [{}]}, None),
    ({"$excludes": [{"name": "b"}, {"left": 0}]}, PRODUCTS),
    ({"$excludes": []}, None),
]
SAVED = {"list": [1, {"a": True, "b": 1}], "number": 7}


@pytest.mark.parametrize(("expected", "got"), HOLDS)
def test_a_match_is_found_to_hold(expected, got):
    assert vectors.difference(expected, got, SAVED) is None


@pytest.mark.parametrize(("expected", "got"), FAILS)
def test_a_mismatch_is_found_and_placed(expected, got):
    assert (vectors.difference(expected, got, SAVED) or "").startswith("answer")


def written(folder, content):
    path = folder / "some.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return vectors.load(folder)


def test_repetitions_are_written_out_between_before_and_after(tmp_path):
    content = {
        "before": [ASK],
        "after": [REFUSED],
        "dialogues": [{"name": "n", "steps": [{"repeat": 2, "steps": [ASK, REFUSED]}, ASK]}],
    }
    (dialogue,) = written(tmp_path, content)
    assert [step.label for step in dialogue.steps] == [
        "before 1",
        "1 (time 1), 1",
        "1 (time 1), 2",
        "1 (time 2), 1",
        "1 (time 2), 2",
        "2",
        "after 1",
    ]


def test_an_unknown_step_is_refused_at_loading(tmp_path):
    with pytest.raises(ValueError, match="step 2: expected one of"):
        written(tmp_path, {"dialogues": [{"name": "n", "steps": [ASK, {"sned": "x"}]}]})


def test_the_command_prints_a_line_a_dialogue_and_fails_if_one_does(monkeypatch, capsys):
    good = Dialogue("keeps to it", "some.json", (Step("1", ASK), Step("2", REFUSED)))
    bad = Dialogue("strays", "some.json", (Step("1", ASK), Step("2", BOUGHT)))
    monkeypatch.setattr(vectors, "load", lambda: [good, bad])
    with scripted_shop([error("NOT_AUTHENTICATED")] * 3) as (host, port):
        assert vectors.main([f"{host}:{port}"]) == 1
        assert vectors.main([f"{host}:{port}", "keeps"]) == 0
    printed = capsys.readouterr().out
    assert "ok      some.json  keeps to it\nFAILED  some.json  strays\n" in printed
    assert "2 dialogues, 1 failed\n" in printed


# The vectors themselves.

DIALOGUES = vectors.load()
NOT_ON_DEMAND = {"BUSY", "TIMED_OUT", "SHUTTING_DOWN", "STORAGE_FAILED"}


def requests(dialogue):
    """Yield the messages of a dialogue that are sent whole, malformed ones left out."""
    for step in dialogue.steps:
        sent = step.action.get("send", [])
        for request in sent if isinstance(sent, list) else [sent]:
            try:
                message = json.loads(request) if isinstance(request, str) else request
            except ValueError:
                continue
            if isinstance(message, dict):
                yield message


def products_named(dialogue):
    datas = [m["data"] for m in requests(dialogue) if isinstance(m.get("data"), dict)]
    return {data["productName"] for data in datas if isinstance(data.get("productName"), str)}


def test_every_dialogue_has_a_name_of_its_own():
    assert [n for n, times in Counter(d.name for d in DIALOGUES).items() if times > 1] == []


def test_no_two_dialogues_buy_the_same_product_but_football():
    with (DATA / "products.csv").open(encoding="utf-8", newline="") as file:
        catalogue = {row["name"] for row in csv.DictReader(file)}
    named = Counter(n for d in DIALOGUES for n in products_named(d) & catalogue)
    assert {name for name, times in named.items() if times > 1} == {"Football"}


def test_every_code_is_sent_and_every_answer_expected():
    sent = {m.get("code") for d in DIALOGUES for m in requests(d) if isinstance(m.get("code"), str)}
    expected = {
        s.action["expect"]["code"] for d in DIALOGUES for s in d.steps if "expect" in s.action
    }
    assert expected == {"SUCCESS", "ERROR", "PRODUCTS_LIST", "ORDERS_LIST"}
    assert sent >= expected | {"AUTHENTICATION", "GET_PRODUCTS", "GET_ORDERS", "NEW_ORDER_ITEM"}


def test_every_reason_that_can_be_provoked_is_expected_and_no_other():
    contract = (ROOT / "sportshop" / "PROTOCOL.md").read_text(encoding="utf-8")
    expected = {
        step.action["expect"]["data"]["reason"]
        for dialogue in DIALOGUES
        for step in dialogue.steps
        if step.action.get("expect", {}).get("code") == "ERROR"
    }
    assert expected & NOT_ON_DEMAND == set()
    assert {reason for reason in expected if reason not in contract} == set()
    assert len(expected) == 10
