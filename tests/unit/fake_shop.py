"""A shop that says what a test tells it to, on a real socket: one script for each connection.

It knows no rules at all, so it can lie. A script is a function of the connection; when it
returns, the connection is closed. After the last script nobody listens any more.
"""

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

PATIENCE_S = 10.0  # a test that waits longer than this has failed
FOOTBALL: dict[str, Any] = {
    "productName": "Football",
    "quantity": 1,
    "price": "149.90",
    "stockQuantity": 4,
}
RECEIPT = {"order": 7, "items": [FOOTBALL], "total": "149.90", "asOf": 7, "replayed": False}
WELCOME: dict[str, Any] = {
    "user": "user1",
    "token": "token-1",
    "protocol": 1,
    "server": "sportshop 0.0.0",
    "limits": {"frameBytes": 65536, "orderItems": 100, "quantity": 1000000},
}


def message(code: str, data: Mapping[str, object], end: bool = True) -> bytes:
    """Return a message as the shop would write it."""
    return json.dumps({"code": code, "data": data, "endOfData": end}).encode() + b"\n"


def receipt_for(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a receipt for items that were asked for, each at the price of a football."""
    sold = [{**FOOTBALL, "productName": i["productName"], "quantity": i["quantity"]} for i in items]
    cents = 14990 * sum(item["quantity"] for item in sold)
    return {**RECEIPT, "items": sold, "total": f"{cents // 100}.{cents % 100:02d}"}


def error(reason: str, **facts: object) -> bytes:
    retryable = reason in {"BUSY", "TIMED_OUT", "SHUTTING_DOWN", "STORAGE_FAILED"}
    data = {"reason": reason, "message": f"it is {reason}", "retryable": retryable}
    return message("ERROR", {**data, **facts})


class Peer:
    """One connection, seen from the shop."""

    def __init__(self, sock: socket.socket, requests: list[dict[str, Any]]) -> None:
        sock.settimeout(PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.bytes_said = 0
        self._lines = sock.makefile("rb")
        self._requests = requests

    def hear(self, code: str) -> dict[str, Any]:
        """Wait for a request of this code and return its data."""
        line = self._lines.readline()
        assert line, f"expected {code}, got the end"
        request: dict[str, Any] = json.loads(line)
        self._requests.append(request)
        assert request["code"] == code, request
        data: dict[str, Any] = request.get("data", {})
        return data

    def hear_anything(self) -> None:
        """Wait for a request, whatever it is."""
        assert self._lines.readline(), "expected a request, got the end"

    def say(self, raw: bytes) -> None:
        self.socket.sendall(raw)
        self.bytes_said += len(raw)

    def answer(self, code: str, data: Mapping[str, object], end: bool = True) -> None:
        self.say(message(code, data, end))

    def welcome(self, **changes: object) -> dict[str, Any]:
        """Let the client log in, and return its credentials."""
        credentials = self.hear("AUTHENTICATION")
        user = credentials.get("user", WELCOME["user"])
        self.answer("SUCCESS", {**WELCOME, "user": user, **changes})
        return credentials

    def sell(self, **changes: object) -> dict[str, Any]:
        """Place an order with its last item, and return what was asked there."""
        wanted = self.hear("NEW_ORDER_ITEM")
        items = [wanted]
        for request in reversed(self._requests[:-1]):
            if request["code"] != "NEW_ORDER_ITEM" or request.get("endOfData", True):
                break
            items.insert(0, request["data"])
        self.answer("SUCCESS", {**receipt_for(items), **changes})
        return wanted

    def wait_for_end(self) -> None:
        """Wait until the client hangs up, politely or not."""
        with contextlib.suppress(ConnectionError):
            assert self._lines.readline() == b""

    def reset(self) -> None:
        """Cut the connection without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


Script = Callable[[Peer], object]


class FakeShop:
    """Serves its scripts one after another. What went wrong in them fails the test at the end."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self._tls = tls
        self._scripts = scripts
        self._problems: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._listener.close()
        self._thread.join(PATIENCE_S)
        self._listener.close()
        if kind is None and self._problems:
            raise self._problems[0]

    def codes(self) -> list[str]:
        return [request["code"] for request in self.requests]

    def orders(self) -> list[dict[str, Any]]:
        """Return the items that were asked for."""
        return [r["data"] for r in self.requests if r["code"] == "NEW_ORDER_ITEM"]

    def _run(self) -> None:
        try:
            for number, script in enumerate(self._scripts, 1):
                sock, _ = self._listener.accept()
                if number == len(self._scripts):
                    self._listener.close()
                self._serve(sock, script)
        except BaseException as problem:  # raised again in the test's own thread
            self._problems.append(problem)

    def _serve(self, sock: socket.socket, script: Script) -> None:
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True)
            except ssl.SSLError:  # the client does not trust us
                sock.close()
                return
        peer = Peer(sock, self.requests)
        try:
            script(peer)
        finally:
            peer.close()
