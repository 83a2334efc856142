"""What instruments are, and what happens to one that fails."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Protocol

import anyio
import pytest

import chanlink
from chanlink.instrument import ChannelInfo, Instrument, Instruments, SessionInfo, told
from tests.channels.pairs import session_pair
from tests.observing.recorder import HOOKS, Recorder
from tests.patience import PATIENCE


class Failing(Recorder):
    def connecting(self, address: str) -> None:
        super().connecting(address)
        raise LookupError("a defect")


def test_each_hook_does_nothing_by_itself_and_says_when_it_is_called() -> None:
    assert len(HOOKS) > 10
    for hook in HOOKS:
        function = getattr(Instrument, hook)
        assert inspect.getdoc(function), hook
        count = len(inspect.signature(function).parameters) - 1
        assert function(Instrument(), *[None] * count) is None


def test_each_is_told_in_order_and_what_they_return_is_collected() -> None:
    class Adds(Instrument):
        def call_begun(self, call: object) -> dict[str, str]:
            return {"its": "answer"}

    one, two = Recorder(), Recorder()
    instruments = Instruments([one, Adds(), two])
    assert instruments.tell(Instrument.call_begun, None) == [None, {"its": "answer"}, None]  # type: ignore[arg-type]
    instruments.tell(Instrument.connect_failed, "somewhere", "timeout")
    assert one.told == two.told == [("call_begun", (None,)), ("connect_failed", ("somewhere", "timeout"))]


def test_one_that_fails_is_logged_once_and_told_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    failing, other = Failing(), Recorder()
    instruments = Instruments([failing, other])
    with caplog.at_level(logging.ERROR, "chanlink"):
        for _ in range(3):
            instruments.tell(Instrument.connecting, "tcp://there")
    assert len(caplog.records) == 1
    assert "Failing failed at connecting" in caplog.text
    assert "LookupError" in caplog.text
    assert failing.names() == ["connecting"]
    assert other.names() == ["connecting"] * 3
    assert list(instruments) == [other]


def test_one_that_fails_while_it_is_told_of_its_own_doing_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Loops(Instrument):
        def connecting(self, address: str) -> None:
            instruments.tell(Instrument.connecting, address)

    instruments = Instruments([Loops()])
    with caplog.at_level(logging.ERROR, "chanlink"):
        instruments.tell(Instrument.connecting, "x")
    assert len(caplog.records) == 1
    assert not instruments


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_not_caught(error: type[BaseException]) -> None:
    with pytest.raises(error):
        Instruments([doing(HOOKS[0], raising(error()))]).tell(Instrument.connecting, "x")


# --- one that is wrong, in a session that is not to notice ----------------------------------------


class Adder(Protocol):
    async def add(self, a: int, b: int) -> int: ...


class Adds:
    async def add(self, a: int, b: int) -> int:
        return a + b


ADDER = chanlink.Interface(Adder)


def doing(hook: str, does: Callable[..., Any]) -> Instrument:
    """An instrument one hook of which does this; `connecting`, too."""
    return type("Wrong", (Instrument,), {hook: does, "connecting": does})()


def raising(error: BaseException) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        raise error

    return hook


async def answers(receiver: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for reply in receiver:
        async with reply:
            await reply.send("ok")


async def use(instruments: list[Instrument]) -> None:
    """A session with these on both sides, with a channel in a channel and a call."""
    services = {"answers": answers, "adder": ADDER.serving(Adds())}
    with anyio.fail_after(PATIENCE):
        async with session_pair(services=services, instruments=instruments, server_instruments=instruments) as (
            session,
            _,
        ):
            async with await session.open("answers") as sender:
                reply_to, reply = chanlink.pipe()
                await sender.send(reply_to)
                assert await reply.receive() == "ok"
            assert await ADDER.client(session, "adder").add(1, 2) == 3


ONE_SIDE = ("channel_accepted", "service_begun", "service_ended")
"""Told to the side that serves."""
IN_SESSIONS = [
    hook for hook in HOOKS if hook.startswith(("session", "channel", "service", "call")) and hook != "channel_stalled"
]


@pytest.mark.anyio
@pytest.mark.parametrize("hook", IN_SESSIONS)
async def test_no_session_ends_by_what_an_instrument_raises_or_returns(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Own(BaseException):
        pass

    wrong = [raising(error()) for error in (LookupError, Own, GeneratorExit, asyncio.CancelledError)]
    wrong += [lambda *_: 5, lambda *_: b"bytes", lambda *_: "\ud800", lambda *_: {1}]
    with caplog.at_level(logging.ERROR, "chanlink"):
        await use([doing(hook, does) for does in wrong])
    told_on_sides = 0 if hook == "call_refused" else 1 if hook in ONE_SIDE else 2
    assert [record.getMessage() for record in caplog.records] == [
        f"the instrument Wrong failed at {hook}, and is told nothing more"
    ] * (len(wrong) * told_on_sides)


def test_without_instruments_there_is_nobody_to_tell() -> None:
    assert told(()) is None
    assert told([]) is None
    instruments = told([Instrument()])
    assert isinstance(instruments, Instruments)
    assert told(instruments) is instruments


@pytest.mark.parametrize("wrong", [5, None, ["x"], [Instrument], Instrument()], ids=lambda one: type(one).__name__)
def test_what_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="instruments must be"):
        told(wrong)  # type: ignore[arg-type]


def test_the_label_of_a_channel_is_bounded() -> None:
    session = SessionInfo("peer", "", "address", "", True)
    known = ChannelInfo(session, 1, None, "echo", True, "sender", True, 0.0)
    unknown = ChannelInfo(session, 2, None, "made up", False, "receiver", False, 0.0)
    assert (known.label, unknown.label) == ("echo", "other")


def test_two_channels_of_the_same_names_are_two() -> None:
    one, two = (SessionInfo("peer", "", "address", "", True) for _ in range(2))
    assert one != two
    assert len({one, two}) == 2
