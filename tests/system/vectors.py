"""Plays the dialogues in tests/vectors against a running shop, and convicts one that strays.

`python -m tests.system.vectors HOST:PORT` prints a line for each dialogue. The shop has to be
freshly started from data/, with nobody else buying: each dialogue may be played once.
It reads tests/vectors/README.md's format with the standard library alone. It does not know the
server's code, the protocol's requests, the catalogue, or how the shop was started.
"""

import argparse
import contextlib
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent.parent / "vectors"
FRAME_BYTES_MAX = 65_536  # with the LF
ANSWER_SECONDS_MAX = 10.0  # a shop that answers at all does so in milliseconds
ANSWER_CODES = frozenset({"SUCCESS", "ERROR", "PRODUCTS_LIST", "ORDERS_LIST"})
RETRYABLE = frozenset({"BUSY", "TIMED_OUT", "SHUTTING_DOWN", "STORAGE_FAILED"})

Json = Any
Saved = dict[str, Json]


# Dialogues, and the files they are read from.


@dataclass(frozen=True)
class Step:
    """One thing to send or to expect. `label` tells where in the file it stands."""

    label: str
    action: dict[str, Json]


@dataclass(frozen=True)
class Dialogue:
    """A conversation from connecting to hanging up; repetitions are written out."""

    name: str
    file: str
    steps: tuple[Step, ...]


def load(folder: Path = VECTORS) -> list[Dialogue]:
    """Return the dialogues of every file of the folder. Raises ValueError for an unknown step."""
    return [dialogue for path in sorted(folder.glob("*.json")) for dialogue in load_file(path)]


def load_file(path: Path) -> Iterator[Dialogue]:
    """Yield the dialogues of one file, each between the file's `before` and `after`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for entry in content["dialogues"]:
        steps = (
            *_written_out(content.get("before", []), "before "),
            *_written_out(entry["steps"], ""),
            *_written_out(content.get("after", []), "after "),
        )
        yield Dialogue(entry["name"], path.name, steps)


def _written_out(actions: Sequence[dict[str, Json]], prefix: str) -> Iterator[Step]:
    for number, action in enumerate(actions, 1):
        label = f"{prefix}{number}"
        if "repeat" in action:
            for time_ in range(1, action["repeat"] + 1):
                yield from _written_out(action["steps"], f"{label} (time {time_}), ")
        elif len(action.keys() & ACTIONS.keys()) == 1:
            yield Step(label, action)
        else:
            raise ValueError(f"step {label}: expected one of {sorted(ACTIONS)}, got {action}")


# Expected and got: a partial match, with matchers.


def difference(expected: Json, got: Json, saved: Saved, where: str = "answer") -> str | None:
    """Say where and how `got` differs from what is expected, or return None.

    An object expects the fields it names and no others, an array every element.
    """
    if isinstance(expected, dict):
        if any(key.startswith("$") for key in expected):
            return _first(MATCHERS[key](expected[key], got, saved, where) for key in expected)
        return _object_difference(expected, got, saved, where)
    if isinstance(expected, list):
        return _array_difference(expected, got, saved, where)
    return None if _same(expected, got) else _differs(where, expected, got)


def _object_difference(
    expected: dict[str, Json], got: Json, saved: Saved, where: str
) -> str | None:
    if not isinstance(got, dict):
        return _differs(where, "an object", got)
    for field, wanted in expected.items():
        place = f"{where}.{field}"
        if wanted == {"$absent": True}:
            problem = _differs(place, "no such field", got[field]) if field in got else None
        elif field not in got:
            problem = f"{place}: expected {wanted!r}, got no such field"
        else:
            problem = difference(wanted, got[field], saved, place)
        if problem:
            return problem
    return None


def _array_difference(expected: list[Json], got: Json, saved: Saved, where: str) -> str | None:
    if not isinstance(got, list) or len(got) != len(expected):
        return _differs(where, f"an array of {len(expected)}", got)
    pairs = enumerate(zip(expected, got, strict=True))
    return _first(difference(want, have, saved, f"{where}[{i}]") for i, (want, have) in pairs)


def _first(problems: Iterator[str | None]) -> str | None:
    return next((problem for problem in problems if problem), None)


def _same(one: Json, other: Json) -> bool:
    """Tell whether two values are the same JSON: unlike Python's, `true` is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _differs(where: str, expected: Json, got: Json) -> str:
    text = repr(got)
    return f"{where}: expected {expected!r}, got {text if len(text) <= 300 else text[:300] + '…'}"


# Matchers: objects whose only field begins with a dollar sign; several may stand together.

JSON_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def _type(expected: str, got: Json, _saved: Saved, where: str) -> str | None:
    right = isinstance(got, JSON_TYPES[expected]) and (
        expected == "boolean" or not isinstance(got, bool)
    )
    return None if right else _differs(where, f"a value of type {expected}", got)


def _regex(expected: str, got: Json, _saved: Saved, where: str) -> str | None:
    if isinstance(got, str) and re.fullmatch(expected, got, re.ASCII):
        return None
    return _differs(where, f"text like {expected}", got)


def _saved(expected: str, got: Json, saved: Saved, where: str) -> str | None:
    value = recall(expected, saved)
    return None if _same(value, got) else _differs(where, value, got)


def _at_least(expected: int, got: Json, _saved: Saved, where: str) -> str | None:
    right = type(got) is int and got >= expected
    return None if right else _differs(where, f"an integer of {expected} or more", got)


def _length(expected: int, got: Json, _saved: Saved, where: str) -> str | None:
    right = isinstance(got, list) and len(got) == expected
    return None if right else _differs(where, f"an array of {expected}", got)


def _each(expected: Json, got: Json, saved: Saved, where: str) -> str | None:
    if not isinstance(got, list):
        return _differs(where, "an array", got)
    return _first(difference(expected, have, saved, f"{where}[{i}]") for i, have in enumerate(got))


def _contains(expected: list[Json], got: Json, saved: Saved, where: str) -> str | None:
    for wanted in expected:
        if _found(wanted, got, saved) is None:
            return _differs(where, f"an array with {wanted!r} in it", got)
    return None


def _excludes(expected: list[Json], got: Json, saved: Saved, where: str) -> str | None:
    if not isinstance(got, list):
        return _differs(where, "an array", got)
    for unwanted in expected:
        if (found := _found(unwanted, got, saved)) is not None:
            return _differs(where, f"an array without {unwanted!r}", found)
    return None


def _found(wanted: Json, got: Json, saved: Saved) -> Json:
    elements = got if isinstance(got, list) else []
    return next((have for have in elements if difference(wanted, have, saved) is None), None)


def _sorted_by(expected: str, got: Json, _saved: Saved, where: str) -> str | None:
    """Strings by Unicode code point, which is how Python compares them."""
    if problem := _each({expected: {"$type": "string"}}, got, {}, where):
        return problem
    values = [element[expected] for element in got]
    return None if values == sorted(values) else _differs(where, f"order by {expected}", values)


MATCHERS: dict[str, Callable[[Json, Json, Saved, str], str | None]] = {
    "$type": _type,
    "$regex": _regex,
    "$saved": _saved,
    "$atLeast": _at_least,
    "$length": _length,
    "$each": _each,
    "$contains": _contains,
    "$excludes": _excludes,
    "$sortedBy": _sorted_by,
}


def recall(name: str, saved: Saved) -> Json:
    """Return a saved value; "order-1" is one less than what was saved as "order"."""
    match = re.fullmatch(r"(\w+)([+-]\d+)?", name)
    assert match, f"not the name of a saved value: {name}"
    value = saved[match[1]]
    return value + int(match[2]) if match[2] else value


def _remember(places: dict[str, str], answer: Json, saved: Saved) -> None:
    for name, place in places.items():
        value = answer
        try:
            for part in place.split("."):
                value = value[int(part)] if isinstance(value, list) else value[part]
        except (LookupError, TypeError):
            raise AssertionError(f"expected a field {place}, got {answer!r}") from None
        saved[name] = value


def _filled_in(request: Json, saved: Saved) -> Json:
    """Return a request with its `{"$saved": name}` replaced by what was saved."""
    if not isinstance(request, dict):
        return request
    if request.keys() == {"$saved"}:
        return recall(request["$saved"], saved)
    return {field: _filled_in(value, saved) for field, value in request.items()}


# The wire: bytes out, lines in, each with a deadline.


class Wire:
    """One connection to the shop."""

    def __init__(self, host: str, port: int, seconds_max: float) -> None:
        self._socket = socket.create_connection((host, port), seconds_max)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._seconds_max = seconds_max
        self._got = b""

    def send(self, data: bytes) -> None:
        """Send; that the shop has hung up shows when its answer is read."""
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise AssertionError(f"the shop did not take {len(data)} bytes") from None
        except OSError:
            pass

    def line(self) -> bytes | None:
        """Return the next line without its LF, None at the end. Raises AssertionError if late."""
        deadline = time.monotonic() + self._seconds_max
        while b"\n" not in self._got[:FRAME_BYTES_MAX]:
            assert len(self._got) < FRAME_BYTES_MAX, "an answer longer than a frame may be"
            chunk = self._receive(deadline)
            if not chunk:
                assert not self._got, f"closed within an answer: {_short(self._got)}"
                return None
            self._got += chunk
        line, _, self._got = self._got.partition(b"\n")
        return line

    def hang_up(self) -> str | None:
        """Close, and return the line that nobody had asked for, if one comes.

        A shop that hears that nothing more will come says what it still has to say and closes.
        That it closes is not in the contract: one that does not has only cost time.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            line = self.line()
        except AssertionError:
            line = self._got or None
        self.close()
        return None if line is None else _short(line)

    def close(self) -> None:
        """Close without a look at what may still come."""
        self._socket.close()

    def _receive(self, deadline: float) -> bytes:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            return self._socket.recv(FRAME_BYTES_MAX)
        except TimeoutError:
            raise AssertionError(f"nothing came within {self._seconds_max} s") from None
        except ConnectionError:
            return b""


def _short(data: bytes) -> str:
    text = data.decode(errors="backslashreplace")
    return text if len(text) <= 2_000 else f"{text[:2_000]}… ({len(data)} bytes)"


# A conversation.


class Conversation:
    """The state of one dialogue while it is played. Each step may raise AssertionError."""

    def __init__(self, host: str, port: int, seconds_max: float) -> None:
        self._connect = lambda: Wire(host, port, seconds_max)
        self._wire = self._connect()
        self._values: Saved = {}

    def send(self, action: dict[str, Json]) -> None:
        """Send one or several lines at once."""
        requests = action["send"] if isinstance(action["send"], list) else [action["send"]]
        self._wire.send(b"".join(self._line(request) for request in requests))

    def _line(self, request: Json) -> bytes:
        if isinstance(request, str):
            return request.encode() + b"\n"
        filled = _filled_in(request, self._values)
        return json.dumps(filled, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def send_text(self, action: dict[str, Json]) -> None:
        """Send text as it is."""
        self._wire.send(action["sendText"].encode())

    def send_hex(self, action: dict[str, Json]) -> None:
        """Send bytes that are no text."""
        self._wire.send(bytes.fromhex(action["sendHex"]))

    def send_repeat(self, action: dict[str, Json]) -> None:
        """Send one text many times over."""
        wanted = action["sendRepeat"]
        self._wire.send(wanted["text"].encode() * wanted["times"])

    def expect(self, action: dict[str, Json]) -> None:
        """Read one answer and compare it."""
        line = self._wire.line()
        assert line is not None, "the connection was closed instead"
        answer = parse_answer(line)
        problem = difference(action["expect"], answer, self._values)
        assert problem is None, f"{problem}\n  came {_short(line)}"
        _remember(action.get("save", {}), answer, self._values)

    def expect_closed(self, _action: dict[str, Json]) -> None:
        """Expect that the shop hangs up without another word."""
        line = self._wire.line()
        assert line is None, f"expected the connection to be closed\n  came {_short(line)}"

    def reconnect(self, action: dict[str, Json]) -> None:
        """Hang up and connect anew."""
        self.hang_up(action)
        self._wire = self._connect()

    def hang_up(self, _action: dict[str, Json]) -> None:
        """Hang up; an answer that nobody expected is a fault."""
        unasked = self._wire.hang_up()
        assert unasked is None, f"expected nothing more\n  came {unasked}"

    def close(self) -> None:
        """Let go of the connection."""
        self._wire.close()


ACTIONS: dict[str, Callable[[Conversation, dict[str, Json]], None]] = {
    "send": Conversation.send,
    "sendText": Conversation.send_text,
    "sendHex": Conversation.send_hex,
    "sendRepeat": Conversation.send_repeat,
    "expect": Conversation.expect,
    "expectClosed": Conversation.expect_closed,
    "reconnect": Conversation.reconnect,
    "hangUp": Conversation.hang_up,
}


def parse_answer(line: bytes) -> dict[str, Json]:
    """Return an answer with `endOfData` filled in. Raises AssertionError if it is none."""
    try:
        answer = json.loads(line.decode())
    except ValueError as problem:
        raise AssertionError(f"not UTF-8 or not JSON: {problem}\n  came {_short(line)}") from None
    defect = _not_an_answer(answer)
    assert defect is None, f"{defect}\n  came {_short(line)}"
    return {"endOfData": True, **answer}


def _not_an_answer(answer: Json) -> str | None:
    """Check what is true of every answer, whatever a dialogue expects."""
    if not isinstance(answer, dict) or answer.get("code") not in ANSWER_CODES:
        return "expected an object with one of the shop's codes"
    if not isinstance(answer.get("data"), dict) or type(answer.get("endOfData", True)) is not bool:
        return "expected data to be an object and endOfData to be a boolean"
    if answer["code"] != "ERROR":
        return None
    data = answer["data"]
    if not isinstance(data.get("reason"), str) or not data.get("message"):
        return "expected an ERROR to have a reason and a message"
    if data.get("retryable") is not (data["reason"] in RETRYABLE):
        return f"expected retryable to be {data['reason'] in RETRYABLE}"
    return None


def play(dialogue: Dialogue, host: str, port: int, seconds_max: float = ANSWER_SECONDS_MAX) -> None:
    """Play one dialogue. Raises AssertionError that tells the step, what was expected and came.

    `seconds_max` is how long any one answer may take.
    """
    with contextlib.closing(Conversation(host, port, seconds_max)) as conversation:
        for step in (*dialogue.steps, Step("at the end", {"hangUp": True})):
            (kind,) = step.action.keys() & ACTIONS.keys()
            try:
                ACTIONS[kind](conversation, step.action)
            except AssertionError as problem:
                raise AssertionError(_verdict(dialogue, step, problem)) from None


def _verdict(dialogue: Dialogue, step: Step, problem: AssertionError) -> str:
    told = json.dumps(step.action, ensure_ascii=False)
    return f"{dialogue.name} [{dialogue.file}], step {step.label}: {told}\n  {problem}"


# The command.


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the dialogues, print a line for each and return how many failed, at most 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.vectors", description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT", help="a shop freshly started from data/")
    parser.add_argument("words", nargs="*", help="play only dialogues with one of these in it")
    given = parser.parse_args(arguments)
    host, _, port = given.address.rpartition(":")
    wanted = [d for d in load() if not given.words or any(w in d.name for w in given.words)]
    failed = sum(not _reported(dialogue, host.strip("[]"), int(port)) for dialogue in wanted)
    print(f"{len(wanted)} dialogues, {failed} failed")
    return 1 if failed or not wanted else 0


def _reported(dialogue: Dialogue, host: str, port: int) -> bool:
    try:
        play(dialogue, host, port)
    except (AssertionError, OSError) as problem:
        print(f"FAILED  {dialogue.file}  {dialogue.name}\n  {problem}")
        return False
    print(f"ok      {dialogue.file}  {dialogue.name}")
    return True


if __name__ == "__main__":
    sys.exit(main())
