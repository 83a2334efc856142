"""A byte stream of a gateway as a transport: ends, resets, and what the gateway says."""

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed, EndOfChannel
from chanlink.session.passage import Passage, PassageAttribute

pytestmark = pytest.mark.anyio


async def test_an_end_is_an_end_and_a_reset_is_one() -> None:
    for resets in (False, True):
        left, right = chanlink.byte_pipe()
        passage = Passage(left, "gw")
        await passage.send(b"some")
        if resets:
            passage.reset_when_closed()
        assert passage.close_now()
        assert passage.closed.is_set()
        assert await right.receive() == b"some"
        with pytest.raises(ChannelFailed if resets else EndOfChannel):
            await right.receive()
        right.close()


@pytest.mark.parametrize("code", ["not-offered", "reset", "closed"])
async def test_what_the_gateway_says_is_kept_and_what_the_far_end_does_is_not(code: str) -> None:
    left, right = chanlink.byte_pipe()
    async with Passage(left, "gw") as passage:
        right.fail(code, "why")
        right.close()
        with pytest.raises(anyio.BrokenResourceError):
            await passage.receive()
        problem = passage.extra(PassageAttribute.problem, None)
        assert (problem is not None) is (code == "not-offered")
        assert problem is None or (problem.hop, str(problem)) == (
            "gw",
            "the gateway gw does not lead there: not-offered: why",
        )
