"""Framing: bytes to lines, bounded.

However the bytes are cut, the same lines come out. Knows nothing of JSON and holds no socket.
"""

from sportshop.messages import FRAME_BYTES_MAX


class Framer:
    """Gathers received bytes until lines are complete.

    `partial` is true while a frame has begun and not ended. `too_long` turns true for good once a
    frame exceeds FRAME_BYTES_MAX; lines that were complete before it are still returned, so that
    they are answered first.
    """

    __slots__ = ("_rest", "_searched", "partial", "too_long")

    def __init__(self) -> None:
        self._rest: bytearray | None = None  # None when idle: ten thousand of these are held
        self._searched = 0
        self.partial = False
        self.too_long = False

    def feed(self, received: bytes) -> list[bytes]:
        """Return the lines that are now complete, each without its LF."""
        if self._rest is None:
            if received.find(b"\n") == len(received) - 1 < FRAME_BYTES_MAX:  # one request, whole
                return [received[:-1]] if received else []  # worth 0.3 µs each
            lines = received.split(b"\n")
            rest: bytes | bytearray = lines.pop()
        else:
            lines, rest = self._continue(self._rest, received)
        if lines and len(max(lines, key=len)) >= FRAME_BYTES_MAX:
            lines = self._before_too_long(lines)
        if len(rest) >= FRAME_BYTES_MAX:
            self.too_long = True
        self._keep(rest)
        return lines

    def _continue(self, begun: bytearray, received: bytes) -> tuple[list[bytes], bytes | bytearray]:
        """Add to a begun frame without searching or copying what was there already."""
        begun += received
        if begun.find(b"\n", self._searched) < 0:
            return [], begun
        lines = bytes(begun).split(b"\n")
        return lines, lines.pop()

    def _before_too_long(self, lines: list[bytes]) -> list[bytes]:
        self.too_long = True
        first = next(i for i, line in enumerate(lines) if len(line) >= FRAME_BYTES_MAX)
        return lines[:first]

    def _keep(self, rest: bytes | bytearray) -> None:
        self.partial = bool(rest) and not self.too_long
        if not self.partial:
            self._rest, self._searched = None, 0
            return
        self._rest = rest if isinstance(rest, bytearray) else bytearray(rest)
        self._searched = len(rest)
