"""The load test's connection: lines are whole and timed when they came; no wait has no end."""

import time

import _connection
import gevent
import pytest
from _connection import FRAME_BYTES_MAX, UNREAD_BYTES_MAX, Connection, Lost, Misused
from _options import Address
from gevent import socket


def listen() -> socket.socket:
    listener = socket.socket()  # socket.create_server is the standard library's, and would block
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


class Peer:
    """The other end, and the connection to it."""

    def __init__(self) -> None:
        listener = listen()
        self.connection = Connection(Address(*listener.getsockname()))
        self.socket, _ = listener.accept()
        listener.close()

    def says(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)
            gevent.sleep(0.002)


@pytest.fixture
def make_peer():
    peers = []

    def make() -> Peer:
        peers.append(Peer())
        return peers[-1]

    yield make
    for peer in peers:
        peer.connection.close()
        peer.socket.close()


@pytest.fixture
def peer(make_peer) -> Peer:
    return make_peer()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"one\ntwo\nthree\n"],
        [b"one\n", b"two\n", b"three\n"],
        [b"o", b"ne\nt", b"wo\nthre", b"e", b"\n"],
        [bytes([byte]) for byte in b"one\ntwo\nthree\n"],
    ],
)
def test_a_line_is_whole_in_whatever_pieces_it_comes(peer, pieces) -> None:
    speaking = gevent.spawn(peer.says, *pieces)
    assert [peer.connection.receive_line() for _ in range(3)] == [b"one\n", b"two\n", b"three\n"]
    speaking.get()


def test_what_is_sent_arrives_whole_also_if_the_peer_is_slow_to_read(peer) -> None:
    request = b"x" * 20_000_000 + b"\n"
    sending = gevent.spawn(peer.connection.send, request)
    gevent.sleep(0.05)
    got = 0
    while got < len(request):
        got += len(peer.socket.recv(1_000_000))
    sending.get()


def test_the_time_of_an_answer_is_when_it_came_and_not_when_it_was_read(peer) -> None:
    peer.says(b"answer\n")
    came_ns = time.monotonic_ns()
    gevent.sleep(0.05)
    assert peer.connection.receive_line() == b"answer\n"
    assert peer.connection.received_ns <= came_ns


def test_a_peer_that_hangs_up_loses_the_connection_but_not_what_it_said_before(peer) -> None:
    peer.says(b"last words\n")
    peer.socket.close()
    gevent.sleep(0.01)
    assert peer.connection.receive_line() == b"last words\n"
    with pytest.raises(Lost, match="closed the connection"):
        peer.connection.receive_line()


def test_who_waits_is_told_that_the_peer_hung_up(peer) -> None:
    waiting = gevent.spawn(peer.connection.receive_line)
    gevent.sleep(0.01)
    peer.socket.close()
    with pytest.raises(Lost):
        waiting.get()


def test_an_answer_that_never_comes_is_not_waited_for_without_end(monkeypatch, make_peer) -> None:
    monkeypatch.setattr(_connection, "ANSWER_S_MAX", 0.1)
    peer = make_peer()
    peer.says(b"half a li")
    began = time.monotonic()
    with pytest.raises(Lost, match="no answer in time"):
        peer.connection.receive_line()
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("waits", [True, False])
def test_a_line_without_end_is_given_up(peer, waits) -> None:
    speaking = gevent.spawn(peer.socket.sendall, b"x" * (FRAME_BYTES_MAX + 1))
    if not waits:
        gevent.sleep(0.05)
    with pytest.raises(Lost, match="no LF"):
        peer.connection.receive_line()
    speaking.get()


def receive_lines(peer: Peer, count: int) -> None:
    for _ in range(count):
        peer.connection.receive_line()


def test_who_sends_without_being_asked_is_not_read_from_without_end(peer) -> None:
    flooding = gevent.spawn(peer.socket.sendall, b"spam\n" * 10_000_000)
    with gevent.Timeout(30):
        while not peer.connection._failure:
            gevent.sleep(0.002)
    with pytest.raises(Lost, match="nobody asked"):
        receive_lines(peer, UNREAD_BYTES_MAX)
    flooding.kill()


def test_who_is_killed_while_he_waits_leaves_nothing_behind(peer) -> None:
    waiting = gevent.spawn(peer.connection.receive_line)
    gevent.sleep(0.01)
    waiting.kill()
    peer.says(b"too late\n")
    assert peer.connection.receive_line() == b"too late\n"


def test_a_closed_connection_sends_nothing(peer) -> None:
    peer.connection.close()
    with pytest.raises(Lost):
        peer.connection.send(b"request\n")


def test_nobody_there_is_an_error() -> None:
    with listen() as listener:
        address = Address(*listener.getsockname())
    with pytest.raises(OSError, match="refused"):
        Connection(address)


def test_two_greenlets_cannot_wait_for_one_connection(peer) -> None:
    first = gevent.spawn(peer.connection.receive_line)
    gevent.sleep(0)
    with pytest.raises(Misused, match="one greenlet each"):
        peer.connection.receive_line()
    peer.says(b"mine\n")
    assert first.get(timeout=5) == b"mine\n"


def test_who_waits_hears_that_the_connection_was_closed(peer) -> None:
    first = gevent.spawn(peer.connection.receive_line)
    gevent.sleep(0)
    peer.connection.close()
    with pytest.raises(Lost, match="hung up"):
        first.get(timeout=5)
