"""The ceiling: a gevent StreamServer that does nothing but send bytes.

    python -m tests.bench.echo_server PORT [ANSWER_BYTES]

It sends back what it gets or, with ANSWER_BYTES, a line of that many bytes for each line. What the
shop reaches beside it, under the same generator in the same run, is how close it is to the limit
of its platform.
"""

import sys

from gevent import socket
from gevent.server import StreamServer


def serve(connected: socket.socket, answer: bytes) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while received := connected.recv(65536):
            connected.sendall(answer * received.count(b"\n") if answer else received)
    except OSError:
        pass  # the client is gone


if __name__ == "__main__":
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    line = b"x" * (size - 1) + b"\n" if size else b""
    server = StreamServer(
        ("127.0.0.1", int(sys.argv[1])), lambda connected, _: serve(connected, line), backlog=4096
    )
    server.start()
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
