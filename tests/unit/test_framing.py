"""However the bytes are cut, the same lines come out."""

from hypothesis import given
from hypothesis import strategies as st

from sportshop.framing import Framer
from sportshop.messages import FRAME_BYTES_MAX

lines = st.lists(st.binary(max_size=50).map(lambda b: b.replace(b"\n", b"")), max_size=20)


@given(lines, st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), st.data())
def test_any_split_gives_the_same_lines(
    sent: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in sent) + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    framer = Framer()
    assert [line for piece in pieces for line in framer.feed(piece)] == sent
    assert framer.partial == bool(rest)
    assert not framer.too_long


def test_byte_by_byte_gives_the_same_lines() -> None:
    framer = Framer()
    stream = b"one\n\ntwo\r\n" + b"x" * 5000 + b"\nrest"
    got = [line for i in range(len(stream)) for line in framer.feed(stream[i : i + 1])]
    assert got == [b"one", b"", b"two\r", b"x" * 5000]


def test_a_frame_may_have_just_its_bytes() -> None:
    line = b"x" * (FRAME_BYTES_MAX - 1)
    for pieces in ([line + b"\n"], [line, b"\n"], [line[:1000], line[1000:] + b"\n"]):
        framer = Framer()
        assert [got for piece in pieces for got in framer.feed(piece)] == [line]
        assert not framer.too_long


def test_a_byte_more_is_too_long_whether_its_lf_has_come_or_not() -> None:
    line = b"x" * FRAME_BYTES_MAX
    for pieces in ([line + b"\n"], [line], [line[:1000], line[1000:]], [line[:-1], b"x\n"]):
        framer = Framer()
        assert [got for piece in pieces for got in framer.feed(piece)] == []
        assert framer.too_long


def test_lines_before_one_that_is_too_long_come_out_and_none_after() -> None:
    framer = Framer()
    assert framer.feed(b"one\ntwo\n" + b"x" * FRAME_BYTES_MAX + b"\nthree\n") == [b"one", b"two"]
    assert framer.too_long
