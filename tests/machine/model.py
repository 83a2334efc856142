"""What the machine knows: the ends, the flows between them, and what each side may see.

A **flow** goes from its senders to one receiver; a channel has one, a byte stream two. An **end** is held at a site,
or it moves: it lies in a message that was accepted and that nobody has received yet. Each end remembers the **lines**
(sessions) that it has crossed. What one sends passes all lines of the sender and all of the receiver, because what
comes home is not joined; so an end is cut off when one of them is dead.

Nothing here looks into chanlink: outcomes are values, taken from the exceptions of public methods.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import chanlink


class Outcome(NamedTuple):
    """Why an end is over, as a user sees it."""

    kind: str
    """The name of the exception's class."""
    code: str = ""
    text: str = ""


END = Outcome("EndOfChannel")
DROPPED = "not-taken"
FORGOTTEN = "abandoned"
DRAINING = "draining"
CARRIED = (DROPPED, DRAINING)
"""What is said of an end because of the channel that carried it."""


def outcome(exc: BaseException) -> Outcome:
    """The exception itself is not kept: its traceback would keep ends alive.

    Nor is the text of what nobody took, which tells of the carrier's end: of that there may be two stories.
    """
    match exc:
        case chanlink.ChannelFailed():
            return Outcome("ChannelFailed", exc.code, "" if exc.code in CARRIED else exc.text)
        case chanlink.ChannelRefused():
            return Outcome("ChannelRefused", exc.code, "" if exc.code in CARRIED else exc.reason)
        case chanlink.SessionLost():
            return Outcome("SessionLost", text=str(exc.cause))
        case _:
            return Outcome(type(exc).__name__)


class Wrong(AssertionError):
    """A promise was broken."""


def check(truth: object, what: str, *about: object) -> None:
    if not truth:
        raise Wrong(f"{what}: {', '.join(map(str, about))}")


@dataclass(eq=False)
class Line:
    """A session between two sites."""

    sites: tuple[str, str]
    sessions: dict[str, chanlink.Session] = field(default_factory=dict)
    opened: dict[str, list["End"]] = field(default_factory=dict)
    """By site: what the other one opened and this one has not accepted, in order."""
    dead: bool = False
    drains: set[str] = field(default_factory=set)
    """The sites that take no new channels by it."""

    def __str__(self) -> str:
        return "-".join(self.sites) + (" (cut)" if self.dead else "")


@dataclass(eq=False)
class Message:
    """One `send`, from its call."""

    number: int
    sender: "End"
    ends: list["End"]
    crossed: frozenset[Line]
    """The lines of its sender when it was sent."""
    crosses: bool
    """Whether it certainly goes over a line (in memory, the sender's task may hear of a rendezvous first)."""
    state: Literal["offered", "accepted", "received", "void", "perhaps"] = "offered"
    """Perhaps: a rendezvous that was cancelled, or broke, while it waited for the far side."""

    def __str__(self) -> str:
        return f"message {self.number} of {self.sender} ({self.state})"


@dataclass(eq=False)
class Flow:
    """One direction of data."""

    capacity: int | None = None
    senders: list["End"] = field(default_factory=list)
    receiver: "End" = None  # type: ignore[assignment]
    written: bytearray = field(default_factory=bytearray)
    """Of a byte stream."""
    read: int = 0
    received: int = 0
    """Messages."""


@dataclass(eq=False)
class End:
    """A `Sender`, a `Receiver` or a `ByteStream`, wherever it is."""

    number: int
    kind: Literal["sender", "receiver", "bytes"]
    site: str
    out: Flow | None = None
    into: Flow | None = None
    handle: Any = None
    """None unless a site holds it."""
    state: Literal["held", "moving", "gone"] = "held"
    carrier: Message | None = None
    """Moving: the message that it lies in (None: it was opened and not accepted). Held: the one it is lent to."""
    lines: frozenset[Line] = frozenset()
    moved: bool = False
    sends_over: Outcome | None = None
    """Why it sends no more: by its own side (end, failed)."""
    reads_over: Outcome | None = None
    """Why it reads no more: by its own side (refused)."""
    saw_sending: Outcome | None = None
    saw_reading: Outcome | None = None
    """What it was told of the other side; sticky."""
    messages: list[Message] = field(default_factory=list)
    base: int = 0
    """How many messages it had offered before it came to where it is: `taken` counts from there."""
    waits: dict[str, Any] = field(default_factory=dict)
    """What tasks do with it, by operation."""

    def received_here(self) -> int:
        """How many messages were received that it sent where it is."""
        return sum(message.state == "received" for message in self.messages[self.base :])

    def __str__(self) -> str:
        where = f"at {self.site}" if self.state == "held" else self.state
        return f"{self.kind} {self.number} {where}"

    # --- where it is ------------------------------------------------------------------------------

    def crosses(self) -> frozenset[Line]:
        """All lines between this end and the place where its flow began."""
        if self.state != "moving" or self.carrier is None:
            return self.lines
        message = self.carrier
        assert message.sender.out is not None
        return self.lines | message.crossed | message.sender.out.receiver.crosses()

    def dropped(self) -> bool:
        """Whether the message that it lies in will not be received, because its receiver is gone."""
        if self.state != "moving" or self.carrier is None:
            return False
        assert self.carrier.sender.out is not None
        receiver = self.carrier.sender.out.receiver
        return receiver.reads_over is not None or receiver.dropped()

    def drop_codes(self) -> set[str]:
        """What is said of it when it was dropped: forgotten, if only the garbage collector has found it."""
        assert self.carrier is not None
        assert self.carrier.sender.out is not None
        receiver = self.carrier.sender.out.receiver
        codes = {DROPPED}
        if receiver.reads_over is not None:
            codes |= {receiver.reads_over.code} & {FORGOTTEN, DRAINING}
        return codes | (receiver.drop_codes() if receiver.dropped() else set())

    def is_inside(self, flow: Flow) -> bool:
        """Whether it lies, or soon may, in a message of this flow, or in one of a flow whose receiver does."""
        if self.carrier is None:
            return False
        other = self.carrier.sender.out
        assert other is not None
        return other is flow or other.receiver.is_inside(flow)


# --- what each side may see -----------------------------------------------------------------------


def is_cut(sender: End) -> bool:
    """Whether a session between this sender and its receiver is dead."""
    assert sender.out is not None
    return any(line.dead for line in sender.crosses() | sender.out.receiver.crosses())


def unreceived(sender: End) -> list[Message]:
    return [message for message in sender.messages if message.state == "accepted"]


def is_complete(sender: End) -> bool:
    """Whether everything that it sent was received."""
    assert sender.out is not None
    return not unreceived(sender) and (sender.kind != "bytes" or sender.out.read == len(sender.out.written))


def ways_to_end(sender: End) -> list[Outcome]:
    """The outcomes by which this sender can end the flow for the receiver; none if it goes on."""
    if sender.sends_over is not None:
        return [sender.sends_over]
    if sender.dropped():
        return [Outcome("ChannelFailed", code) for code in sorted(sender.drop_codes())]
    if sender.state == "moving" and is_cut(sender):
        return [Outcome("ChannelFailed", DROPPED)]
    return []


def check_reading_over(receiver: End, seen: Outcome) -> None:
    """The receiver was told that nothing will come any more."""
    if receiver.saw_reading is not None:
        check(receiver.saw_reading == seen, "a reason changed", receiver, receiver.saw_reading, seen)
        return
    receiver.saw_reading = seen
    if receiver.reads_over is not None and seen.code == receiver.reads_over.code:
        return  # its own words
    flow = receiver.into
    assert flow is not None
    check(seen.kind in ("EndOfChannel", "ChannelFailed", "SessionLost"), "no reason of a receiver", receiver, seen)
    for sender in flow.senders:
        if not is_cut(sender):
            check(ways_to_end(sender), "over, though a sender goes on", receiver, seen, sender)
            check(is_complete(sender), "over, though messages are missing", receiver, seen, sender)
    possible = {way for sender in flow.senders for way in ways_to_end(sender)}
    if seen.kind == "SessionLost":
        check(any(map(is_cut, flow.senders)), "lost, but nothing was cut", receiver, seen)
    elif seen.kind == "ChannelFailed":
        check(seen in possible, "failed for no reason that was given", receiver, seen, possible)
    else:
        check(possible == {END}, "an end, but one of the senders did not end", receiver, possible)
        for sender in flow.senders:
            check(sender.sends_over == END, "an end, but a sender is lost", receiver, sender)
            check(is_complete(sender), "an end, but messages are missing", receiver, sender)


def check_sending_over(sender: End, seen: Outcome, *, sticks: bool) -> None:
    """The sender was told that nothing more is taken."""
    if sticks and sender.saw_sending is not None:
        check(sender.saw_sending == seen, "a reason changed", sender, sender.saw_sending, seen)
        return
    if sticks:
        sender.saw_sending = seen
    assert sender.out is not None
    receiver = sender.out.receiver
    if seen.kind == "SessionLost":
        check(is_cut(sender), "lost, but nothing was cut", sender, seen)
        return
    check(seen.kind == "ChannelRefused", "no reason of a sender", sender, seen)
    if sender.kind == "bytes" and sender.sends_over is not None and seen.code == "closed":
        return  # a byte stream is over when both directions are
    possible = set()
    if receiver.reads_over is not None:
        possible.add(receiver.reads_over)
    elif receiver.dropped():
        possible.update(Outcome("ChannelRefused", code) for code in receiver.drop_codes())
    elif receiver.state == "moving" and is_cut(sender):
        possible.add(Outcome("ChannelRefused", DROPPED))
    check(seen in possible, "refused for no reason that was given", sender, seen, possible)


def check_received(receiver: End, message: Message) -> None:
    """The next message of its sender, and no other."""
    flow = receiver.into
    assert flow is not None
    check(message.sender.out is flow, "a message of another channel", receiver, message)
    check(message.state not in ("received", "void"), "received, but never sent or twice", receiver, message)
    for earlier in message.sender.messages:
        if earlier is message:
            break
        if earlier.state == "perhaps":
            earlier.state = "void"
        check(earlier.state in ("received", "void"), "a message was overtaken or lost", receiver, earlier, message)


def check_counts(sender: End) -> None:
    """`taken` never runs ahead of what was received; a capacity bounds what is under way."""
    flow = sender.out
    if sender.kind != "sender" or flow is None or sender.handle is None:
        return
    # A task that has been given a message in memory may not have run yet.
    taken = sender.handle.taken - (flow.capacity == 0 and "receive" in flow.receiver.waits)
    check(taken <= flow.received, "more taken than received", sender, taken, flow.received)
    if len(flow.senders) > 1:
        return
    here = sender.received_here()
    check(taken <= here, "more taken than received of this sender", sender, taken, here)
    if flow.capacity is not None and not sender.moved:
        under_way = len(unreceived(sender))
        check(under_way <= max(flow.capacity, 1), "more under way than the capacity", sender, under_way)


def check_at_rest(end: End) -> None:
    """Everything that could be received was received, and everybody looks at his end: is what he sees complete?"""
    if end.state == "moving":
        cut = any(line.dead for line in end.crosses())
        check(cut or end.dropped(), "an end was lost in a message", end)
        return
    if end.state == "gone":
        return
    if end.into is not None and end.reads_over is None:
        _check_reader_at_rest(end)
    if end.out is not None and end.sends_over is None:
        receiver = end.out.receiver
        over = is_cut(end) or receiver.reads_over is not None or receiver.dropped()
        check((end.saw_sending is not None) == over, "a sender does not see its receiver's state", end, receiver)
        if not over and end.kind == "sender" and len(end.out.senders) == 1:
            here = end.received_here()
            check(end.handle.taken == here, "taken is not what was received", end, end.handle.taken, here)


def _check_reader_at_rest(end: End) -> None:
    assert end.into is not None
    going = []
    for sender in end.into.senders:
        if not is_cut(sender):
            check(is_complete(sender), "messages were lost", end, sender, *unreceived(sender))
            if not ways_to_end(sender):
                going.append(sender)
    over = end.saw_reading is not None
    check(over == (not going), "a receiver does not see its senders' state", end, *going, *end.into.senders)
