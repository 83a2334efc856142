"""Rules: what becomes of each frame of a way. All are of one frame only, and pass on the others as they are.

A rule is called once for each frame, in order, with its number and its bytes, and returns what goes on instead. It may
wait; what comes behind waits with it.
"""

from collections.abc import Awaitable, Callable

Rule = Callable[[int, bytes], Awaitable[bytes]]


async def pass_on(number: int, frame: bytes) -> bytes:
    """As it came."""
    return frame


def changing(which: int, change: Callable[[bytes], bytes]) -> Rule:
    """Another frame, or none, or several, goes on in the place of one."""

    async def rule(number: int, frame: bytes) -> bytes:
        return change(frame) if number == which else frame

    return rule


def dropping(which: int) -> Rule:
    return changing(which, lambda frame: b"")


def doubling(which: int) -> Rule:
    return changing(which, lambda frame: frame + frame)


def flipping(which: int, at: int = -1, bit: int = 1) -> Rule:
    """One bit of a byte is another one; by default of the last byte, which is of a record's tag."""

    def change(frame: bytes) -> bytes:
        changed = bytearray(frame)
        changed[at] ^= bit
        return bytes(changed)

    return changing(which, change)


def putting_before(which: int, strange: bytes) -> Rule:
    """Bytes from elsewhere, such as a frame of another connection, go first."""
    return changing(which, lambda frame: strange + frame)


def turning_round(which: int) -> Rule:
    """One frame goes on behind the one that follows it."""
    kept = b""

    async def rule(number: int, frame: bytes) -> bytes:
        nonlocal kept
        if number == which:
            kept = frame
            return b""
        whole, kept = frame + kept, b""
        return whole

    return rule
