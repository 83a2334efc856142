"""What instruments are told of calls, on the side that calls and on the one that carries them out."""

import gc
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import CallError, CallRefused, Sender, call_context, current_call, pipe
from chanlink.observing import CallInfo, Instrument
from chanlink.testing import session_pair
from chanlink.testing.sessions import PEER
from tests.observing.recorder import Recorder
from tests.patience import until
from tests.session.endpoints import ALICE, EVERYBODY, SERVER, TCP

from .calculators import CALC, OneCalculator, OutOfStock

pytestmark = pytest.mark.anyio


class Both:
    """A client of a calculator over a session, and what both sides are told."""

    def __init__(self) -> None:
        self.here, self.there = Recorder(), Recorder()
        self.calc: Any

    @asynccontextmanager
    async def running(self, implementation: object, *instruments: Instrument, **options: Any) -> AsyncIterator[Any]:
        services = {"calc": CALC.serving(implementation, **options)}
        here, there = [*instruments, self.here], [self.there]
        async with session_pair(services=services, instruments=here, server_instruments=there) as (client, server):
            self.client, self.server = client, server
            yield CALC.client(client, "calc")
        assert self.here.all_ended("call")
        assert self.there.all_ended("call")

    def ends(self) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
        """Method, outcome and code of each call, here and there."""
        return _ends(self.here), _ends(self.there)


def _ends(recorder: Recorder) -> list[tuple[str, str, str]]:
    return [(call.method, outcome, code) for call, outcome, code in recorder.of("call_ended")]


async def test_both_sides_are_told_of_a_call_and_of_what_became_of_it() -> None:
    both = Both()
    async with both.running(OneCalculator()) as calc:
        with call_context({"who": "me"}):
            assert await calc.add(1, 2) == 3
        await until(lambda: both.there.of("call_ended"))
    assert both.ends() == ([("add", "ok", "")], [("add", "ok", "")])
    ((ours,),), ((theirs,),) = both.here.of("call_begun"), both.there.of("call_begun")
    assert (ours.interface, ours.method, ours.serves, ours.peer, ours.is_stream) == (
        "Calculator",
        "add",
        False,
        "",
        False,
    )
    assert (theirs.interface, theirs.method, theirs.serves, theirs.peer) == (
        "Calculator",
        "add",
        True,
        "the other side",
    )
    assert (ours.context, theirs.context) == ({}, {"who": "me"})


async def fails(what: str) -> None:
    match what:
        case "listed":
            raise OutOfStock(detail=3)
        case "defect":
            raise LookupError("a secret")
        case "late":
            await anyio.sleep_forever()


ENDINGS: list[tuple[Callable[[Any], Any], tuple[str, str], tuple[str, str]]] = [
    (lambda calc: calc.do("fails", "listed"), ("failed", "out-of-stock"), ("failed", "out-of-stock")),
    (lambda calc: calc.do("fails", "defect"), ("failed", "handler-failed"), ("failed", "handler-failed")),
    (lambda calc: calc.add("x", 2), ("refused", "bad-arguments"), ("refused", "bad-arguments")),
]


@pytest.mark.parametrize(("call", "ours", "theirs"), ENDINGS, ids=["listed", "defect", "bad-arguments"])
async def test_how_a_call_failed_is_told_on_both_sides(
    call: Callable[[Any], Any], ours: tuple[str, str], theirs: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "chanlink")
    both = Both()
    async with both.running(OneCalculator(fails=fails)) as calc:
        with pytest.raises(CallError):
            await call(calc)
        await until(lambda: both.there.of("call_ended"))
    here, there = both.ends()
    assert [one[1:] for one in here] == [ours]
    assert [one[1:] for one in there] == [theirs]
    assert "secret" not in f"{both.here.told} {both.there.told}"


async def test_a_call_that_is_left_is_cancelled_on_both_sides() -> None:
    both, calculator = Both(), OneCalculator()
    async with both.running(calculator) as calc:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calc.wait)
            await until(lambda: calculator.began)
            tasks.cancel_scope.cancel()
        await until(lambda: both.there.of("call_ended"))
    assert both.ends() == ([("wait", "cancelled", "")], [("wait", "cancelled", "cancelled")])


async def test_a_call_is_lost_with_its_session() -> None:
    both, calculator = Both(), OneCalculator()
    async with both.running(calculator) as calc, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(CallError):
                await calc.wait()

        tasks.start_soon(call)
        await until(lambda: calculator.began)
        both.server.abort()
    assert both.ends()[0] == [("wait", "lost", "")]
    assert both.ends()[1][0][:2] == ("wait", "cancelled")


async def test_what_is_no_call_is_told_as_a_refusal_with_one_of_our_words() -> None:
    both = Both()
    async with both.running(OneCalculator()) as calc:
        assert await calc.add(1) == 2
        requests: Sender[Any] = both.client._shared("calc")
        for request in (
            {"method": "made up", "arguments": {}},
            {"method": 5},
            {"method": "add", "arguments": {}, "seconds": 0},
        ):
            reply, replies = pipe()
            await requests.send({**request, "reply": reply})
            assert "refused" in await replies.receive()
    assert [code for _, code in both.there.of("call_refused")] == ["no-such-method", "bad-request", "late"]
    assert "made up" not in str(both.there.told)


async def test_a_call_of_a_service_that_there_is_not_is_refused_where_it_was_made() -> None:
    here = Recorder()
    async with session_pair(services={}, instruments=[here]) as (client, _server):
        with pytest.raises(CallRefused):
            await CALC.client(client, "calc").add(1, 2)
    assert _ends(here) == [("add", "refused", "no-such-service")]


async def test_what_cant_be_sent_has_failed_here_and_there_it_is_nothing() -> None:
    both = Both()
    async with both.running(OneCalculator()) as calc:
        with pytest.raises(chanlink.EncodeError):
            await calc.do("x", object())
    assert both.ends() == ([("do", "failed", "encode-error")], [])


async def test_a_stream_is_one_call_however_it_is_left() -> None:
    both = Both()
    async with both.running(OneCalculator()) as calc:
        assert [one async for one in calc.count(3)] == [0, 1, 2]
        async with aclosing(calc.count(1_000)) as items:
            assert await anext(items) == 0
        never_asked = calc.count(3)
        await never_asked.aclose()
        forgotten = calc.count(3)
        await anext(forgotten)
        del forgotten
        gc.collect()
        await until(lambda: len(both.there.of("call_ended")) == 3)
    here, there = both.ends()
    assert [one[1] for one in here] == ["ok", "cancelled", "cancelled"]
    assert [one[0] for one in there] == ["count"] * 3


class Adds(Instrument):
    """Sends something along with each call."""

    def __init__(self, added: Any) -> None:
        self.added = added

    def call_begun(self, call: CallInfo) -> Mapping[str, str] | None:
        return None if call.serves else self.added  # type: ignore[no-any-return]


async def said(_: object) -> dict[str, str]:
    return dict(current_call().context)


async def test_what_an_instrument_adds_travels_beside_what_the_program_says() -> None:
    async with Both().running(OneCalculator(said=said), Adds({"trace": "1", "who": "instrument"})) as calc:
        assert await calc.do("said") == {"trace": "1", "who": "instrument"}
        with call_context({"who": "program"}):
            assert await calc.do("said") == {"trace": "1", "who": "program"}
        assert await calc.do("said") == {"trace": "1", "who": "instrument"}


@pytest.mark.parametrize("added", [{"trace": "x" * 4_096}, {"trace": 5}, {5: "x"}], ids=["long", "no str", "no key"])
async def test_what_there_is_no_room_for_is_left_out_and_the_call_goes_on(added: Any) -> None:
    async with Both().running(OneCalculator(said=said), Adds(added)) as calc:
        with call_context({"who": "program"}):
            assert await calc.do("said") == {"who": "program"}


async def test_what_is_set_when_a_call_begins_is_there_for_the_method_and_for_no_other() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nothing")

    class Sets(Instrument):
        def __init__(self) -> None:
            self.tokens: dict[CallInfo, Any] = {}

        def call_begun(self, call: CallInfo) -> None:
            self.tokens[call] = variable.set(call.context.get("who", ""))

        def call_ended(self, call: CallInfo, outcome: str, code: str) -> None:
            variable.reset(self.tokens.pop(call))

    async def look(_: object) -> str:
        return variable.get()

    sets = Sets()
    services = {"calc": CALC.serving(OneCalculator(look=look))}
    async with session_pair(services=services, server_instruments=[sets]) as (client, _server):
        calc = CALC.client(client, "calc")
        for number in range(5):
            with call_context({"who": str(number)}):
                assert await calc.do("look") == str(number)
    assert not sets.tokens


async def test_calls_by_an_end_that_has_travelled_are_told_where_it_goes_over_a_session() -> None:
    here, there = Recorder(), Recorder()
    requests, receiver = pipe()

    async def serve_it() -> None:
        await CALC.serving(OneCalculator())(receiver, PEER)

    pair = session_pair(instruments=[here], server_instruments=[there])
    async with pair as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(serve_it)
        carrier = await client.open("carrier")
        await carrier.send(requests)
        async with await (await server.accept()).end.receive() as travelled:
            assert await CALC.client(travelled).add(1, 2) == 3
        carrier.close()
    assert [(call.serves, call.method) for (call,) in there.of("call_begun")] == [(False, "add")]
    assert [(call.serves, call.method) for (call,) in here.of("call_begun")] == [(True, "add")]


async def test_in_memory_nobody_is_told() -> None:
    sender, receiver = pipe()
    assert sender._send_core.instruments is receiver._receive_core.instruments is None
    sender.close()
    receiver.close()


async def test_a_call_over_a_link_is_told_to_its_instruments() -> None:
    here = Recorder()
    services = {"calc": CALC.serving(OneCalculator())}
    async with chanlink.listen(TCP, identity=SERVER, trust=EVERYBODY, services=services) as listener:
        address = listener.addresses[0]
        async with chanlink.reconnecting(address, identity=ALICE, peer=SERVER.public_key, instruments=[here]) as link:
            assert await link.client(CALC, "calc").add(2, 3) == 5
    assert _ends(here) == [("add", "ok", "")]
    states = [state for _, state in here.of("link_changed")]
    assert states[0] == "ready"
    assert states[-1] == "closed"
    assert here.all_ended("session")
    assert here.all_ended("channel")
