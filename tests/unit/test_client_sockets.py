"""The client on sockets other than plain, blocking ones: TLS, and gevent's."""

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from sportshop import client
from sportshop.client import Client, wire
from tests.unit.fake_shop import FakeShop, Peer

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="makes its certificate with openssl"
)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a fresh key and its certificate for 127.0.0.1."""
    key, issued = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    names = ["-subj", "/CN=shop", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(issued)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + issued.read_bytes())
    return both


def over_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@needs_openssl
def test_a_shop_can_be_reached_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "QUIET_S", 0.0)  # look for news before every request

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.sell()
        peer.sell(order=8, asOf=8)

    trust = ssl.create_default_context(cafile=certificate)
    with (
        FakeShop(script, tls=over_tls(certificate)) as shop,
        Client(port=shop.port, timeout_s=5.0, tls=trust) as customer,
    ):
        customer.authenticate("user1", "senha")
        orders = [customer.order("Football").order for _ in range(2)]
    assert orders == [7, 8]


@needs_openssl
def test_a_shop_whose_certificate_is_not_trusted_is_not_talked_to(certificate: Path) -> None:
    def script(peer: Peer) -> None:
        raise AssertionError("there should be no connection")

    with (
        FakeShop(script, tls=over_tls(certificate)) as shop,
        Client(port=shop.port, timeout_s=5.0, tls=ssl.create_default_context()) as customer,
        pytest.raises(client.ConnectionLost, match="certificate") as lost,
    ):
        customer.authenticate("user1", "senha")
    assert lost.value.stage == "connect"
    assert shop.requests == []


def test_a_handshake_that_is_never_answered_ends_at_the_deadline() -> None:
    def script(peer: Peer) -> None:
        while peer.socket.recv(4096):
            pass

    with (
        FakeShop(script) as shop,
        Client(port=shop.port, timeout_s=0.25, tls=ssl.create_default_context()) as customer,
        pytest.raises(client.DeadlineExceeded),
    ):
        customer.connect()


WHERE_SOCKETS_ARE_GEVENTS = """
from gevent import monkey
monkey.patch_all()
import gevent, socket
from sportshop.client import Client, DeadlineExceeded
from tests.unit.fake_shop import FakeShop, Peer

def silent(peer):
    peer.hear("GET_PRODUCTS")
    turns.append("heard")
    peer.wait_for_end()

real = socket.getaddrinfo

def two_places(host, port, **kind):  # the first swallows every packet: its queue is full
    return [*real("127.0.0.1", hole.getsockname()[1], **kind), *real(host, port, **kind)]

socket.getaddrinfo = two_places
hole = socket.socket()
hole.bind(("127.0.0.1", 0))
hole.listen(0)
waiting = [socket.socket() for _ in range(8)]
for sock in waiting:
    sock.setblocking(False)
    sock.connect_ex(hole.getsockname())

def ask():
    with Client(port=shop.port, timeout_s=0.5) as customer:
        try:
            customer.products()
        except DeadlineExceeded:
            turns.append("gave up")

turns = []
with FakeShop(silent) as shop:
    gevent.joinall([gevent.spawn(ask), gevent.spawn(turns.append, "another")], raise_error=True)
print(turns)
"""


def test_where_sockets_are_cooperative_so_is_the_client() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", WHERE_SOCKETS_ARE_GEVENTS],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert run.stderr == ""
    assert run.stdout.strip() == "['another', 'heard', 'gave up']"
