"""`Frames`: what is on the wire, cut where protocol sections 1 to 3 say."""

import pytest

from tests.security.wires import make_hello, prefixed

from .frames import Frames

HELLO = make_hello()
REST = [prefixed(b"first"), prefixed(b""), prefixed(bytes(65_535))]


@pytest.mark.parametrize("piece", [1, 2, 9, 10, 11, 1_000, 1_000_000])
@pytest.mark.parametrize("hello", [[], [HELLO]], ids=["to the client", "to the server"])
def test_frames_are_whole_however_they_came(piece: int, hello: list[bytes]) -> None:
    whole, frames = b"".join([*hello, *REST]), Frames(hello=bool(hello))
    found = [frame for at in range(0, len(whole), piece) for frame in frames.add(whole[at : at + piece])]
    assert found == [*hello, *REST]
    assert frames.rest == b""


def test_what_is_not_whole_stays() -> None:
    frames = Frames(hello=True)
    assert list(frames.add(HELLO + REST[0][:4])) == [HELLO]
    assert frames.rest == REST[0][:4]
