"""Cases of a select alone: what each says when it is looked at, and where its wake-up goes."""

from typing import Any

import pytest

import chanlink
from chanlink import ChannelClosed, ChannelRefused, EndOfChannel
from chanlink.channels.cases import CloseCase, ReceiveCase, Selection, SendCase, make_case
from chanlink.channels.waiting import EMPTY, Loop

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


class Woken:
    """A task that waits at the same place."""

    def __init__(self) -> None:
        self.count = 0

    def set(self) -> None:
        self.count += 1

    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Any) -> None: ...


async def test_each_thing_that_can_be_selected_has_its_case() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        selection = Selection()
        cases = [make_case(0, case, selection) for case in (receiver, sender.sending(1), receiver.closing())]
        assert [type(case) for case in cases] == [ReceiveCase, SendCase, CloseCase]
        with pytest.raises(TypeError, match=r"case 0 must be a receiver.*, not Sender"):
            make_case(0, sender, selection)  # type: ignore[arg-type]


async def test_a_receiver_is_ready_when_there_is_a_message() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        case = make_case(7, receiver, Selection())
        assert case.look() is None
        sender.send_nowait("hello")
        assert case.look() == (7, receiver, "hello", None)


async def test_its_end_is_an_outcome_too() -> None:
    sender, receiver = chanlink.pipe()
    async with receiver:
        sender.close()
        selected = make_case(0, receiver, Selection()).look()
        assert selected is not None
        assert isinstance(selected.error, EndOfChannel)


async def test_a_message_is_sent_when_there_is_room_and_once() -> None:
    sender, receiver = chanlink.pipe(1)
    async with sender, receiver:
        sender.send_nowait("first")
        case = make_case(0, sender.sending("second"), Selection())
        assert case.look() is None
        assert receiver.receive_nowait() == "first"
        assert case.look() is not None
        case.close()
        assert receiver.receive_nowait() == "second"


async def test_a_message_of_a_case_that_did_not_happen_gives_its_ends_back() -> None:
    sender, receiver = chanlink.pipe()
    one, other = chanlink.pipe()
    async with sender, receiver, one, other:
        case = make_case(0, sender.sending(one), Selection())
        case.close()
        sender.send_nowait(one)
        assert one.is_void
        receiver.receive_nowait().close()


async def test_a_sender_that_is_closed_is_an_outcome_and_an_end_in_the_message_is_the_callers_fault() -> None:
    sender, receiver = chanlink.pipe()
    one, other = chanlink.pipe()
    async with receiver, other:
        one.close()
        with pytest.raises(ChannelClosed):
            make_case(0, sender.sending(one), Selection())
        sender.close()
        selected = make_case(0, sender.sending("hello"), Selection()).look()
        assert selected is not None
        assert isinstance(selected.error, ChannelClosed)


async def test_closing_is_ready_when_the_far_side_is_gone() -> None:
    sender, receiver = chanlink.pipe()
    async with sender:
        case = make_case(0, sender.closing(), Selection())
        assert case.look() is None
        receiver.close()
        selected = case.look()
        assert selected is not None
        assert isinstance(selected.error, ChannelRefused)


async def test_a_wake_up_that_was_not_used_is_the_next_ones() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        case, next_one = make_case(0, receiver, Selection()), Woken()
        case.wait()
        receiver._receive_core.receivers.add(next_one)
        sender.send_nowait("hello")
        assert (case.woken, next_one.count) == (True, 0)
        case.pass_on()
        assert (case.woken, next_one.count) == (False, 1)
        case.pass_on()
        assert next_one.count == 1


async def test_one_that_was_used_is_not_passed_on() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        case, next_one = make_case(0, receiver, Selection()), Woken()
        case.wait()
        sender.send_nowait("hello")
        assert case.look() is not None
        case.use()
        receiver._receive_core.receivers.add(next_one)
        case.pass_on()
        assert next_one.count == 0


async def test_a_case_that_has_left_is_not_woken() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        case = make_case(0, receiver, Selection())
        case.wait()
        case.leave()
        sender.send_nowait("hello")
        assert not case.woken


async def test_only_a_selection_that_waits_can_be_decided_by_the_other_side() -> None:
    sender, receiver = chanlink.pipe(0)
    async with sender, receiver:
        selection = Selection()
        case = make_case(0, sender.sending("hello"), selection)
        case.wait()
        assert not selection.free
        assert receiver._receive_core.take(0) is EMPTY  # the select is not waiting
        case.leave()
        case.close()


async def test_a_case_waits_in_the_loop_of_its_core() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        case, loop = make_case(0, receiver, Selection()), Loop()
        receiver._receive_core.wait_in(loop)  # it has come to have a feed of a session
        assert case.core.loop is loop
