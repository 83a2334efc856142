"""What the machine can do in one step. Each step gets two numbers, which choose among what is possible now."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio

import chanlink

from .model import DRAINING, END, FORGOTTEN, End, Flow, Line, Outcome, check
from .world import PAIRS, Wait, World

T = TypeVar("T")
Step = Callable[[World, int, int], Awaitable[bool]]
"""Returns False if there was nothing to do it with."""

CAPACITIES = (None, 0, 1, 2, None, 5)
SIZES = (0, 0, 0, 100, 0, 6_000, 0, 30_000)
"""Of messages: some use up a window, some are longer."""
PIECES = (1, 10, 700, 9_000, 20_000, 70_000)
LIMITS = (1, 17, 5_000, 100_000)
MAX_ENDS = 60
ENDS = ("sender", "receiver", "bytes")
STEPS: dict[str, Step] = {}


def step(function: Step) -> Step:
    STEPS[function.__name__] = function
    return function


def pick(candidates: Sequence[T], number: int) -> T | None:
    """One of them, more often one of the last: what has just been made or received is used more."""
    return candidates[-1 - (number * number * len(candidates) >> 16)] if candidates else None


def held(world: World, *kinds: str, idle: str = "") -> list[End]:
    """Ends at a site, in the order of their making; `idle`: without a task in this operation."""
    return [
        end
        for end in world.ends
        if end.state == "held" and end.kind in kinds and not end.handle.is_void and (not idle or idle not in end.waits)
    ]


@step
async def some_time(world: World, a: int, b: int) -> bool:
    await world.turns(b % 12)
    return True


# --- making ---------------------------------------------------------------------------------------


@step
async def open_channel(world: World, a: int, b: int) -> bool:
    line = pick(world.living(), a)
    if line is None or len(world.ends) > MAX_ENDS:
        return False
    await open_over(world, line, b)
    return True


async def open_over(world: World, line: Line, b: int) -> None:
    """A channel, or a byte stream, that one side opens and the other one has still to accept, or refuses."""
    here, there = line.sites if b % 2 else line.sites[::-1]
    try:
        other = await _opened(world, line, here, there, b)
    except chanlink.ChannelRefused as exc:
        check(exc.code == DRAINING and there in line.drains, "refused, but the other side takes channels", line, exc)
        world.counts["openings refused at once"] += 1
        return
    other.lines = frozenset({line})
    if there in line.drains:  # which it has not heard of
        not_served(world, other)
    else:
        other.state = "moving"
        line.opened[there].append(other)


def not_served(world: World, end: End) -> None:
    """It was opened, and the side that is to get it drains."""
    world.counts["openings refused over there"] += 1
    closed(world, end, Outcome("ChannelFailed", DRAINING), Outcome("ChannelRefused", DRAINING))


async def _opened(world: World, line: Line, here: str, there: str, b: int) -> End:
    """The end that the other side gets."""
    if b % 7 == 0:
        stream = await line.sessions[here].open_stream("bytes")
        _, other = new_bytes(world, here, stream, there, None)
    else:
        flow = Flow(CAPACITIES[b // 2 % len(CAPACITIES)])
        handle = await line.sessions[here].open("channel", capacity=flow.capacity)
        world.new("sender", here, handle, out=flow)
        other = world.new("receiver", there, None, into=flow)
    return other


@step
async def accept(world: World, a: int, b: int) -> bool:
    line = pick([line for line in world.living() if any(line.opened.values())], a)
    if line is None:
        return False
    for site, opened in line.opened.items():
        if opened and line.sessions[site].statistics().unaccepted:
            end = opened.pop(0)
            end.handle = (await line.sessions[site].accept()).end
            check(end.handle.kind == end.kind, "another channel was accepted than was opened", end)
            end.state = "held"
    return True


@step
async def pipe(world: World, a: int, b: int) -> bool:
    if len(world.ends) > MAX_ENDS:
        return False
    site, flow = "ARB"[a % 3], Flow(CAPACITIES[b % len(CAPACITIES)])
    sender, receiver = chanlink.pipe(flow.capacity)
    world.new("sender", site, sender, out=flow)
    world.new("receiver", site, receiver, into=flow)
    return True


@step
async def byte_pipe(world: World, a: int, b: int) -> bool:
    if len(world.ends) > MAX_ENDS:
        return False
    left, right = chanlink.byte_pipe()
    new_bytes(world, "ARB"[a % 3], left, "ARB"[a % 3], right)
    return True


def new_bytes(world: World, here: str, left: object, there: str, right: object) -> tuple[End, End]:
    out, back = Flow(), Flow()
    return (
        world.new("bytes", here, left, out=out, into=back),
        world.new("bytes", there, right, out=back, into=out),
    )


@step
async def clone(world: World, a: int, b: int) -> bool:
    end = pick(held(world, "sender"), a)
    if end is None or len(world.ends) > MAX_ENDS:
        return False
    new = world.new("sender", end.site, end.handle.clone(), out=end.out)
    new.lines, new.moved = end.lines, True
    return True


# --- sending and receiving ------------------------------------------------------------------------


async def _send(world: World, a: int, b: int, count: int, *, wait: bool) -> bool:
    sender = pick(held(world, "sender", idle="send"), a)
    if sender is None:
        return False
    assert sender.out is not None
    free = [end for end in held(world, *ENDS) if end.carrier is None and end.site == sender.site]
    if sender.out.capacity == 0 and not wait:
        free = []  # whether it was sent can't be told, and there is no task that would be told later
    ends: list[End] = []
    for number in range(count):
        end = pick(
            [end for end in free if end not in ends and _may_lie_in(end, sender.out)], (b * 37 + number * 101) % 256
        )
        ends += [end] if end is not None else []
    if count and not ends:
        return False
    message = world.offer(sender, ends)
    value = {
        "n": message.number,
        "ends": [end.handle for end in ends],
        "more": bytes(SIZES[b % len(SIZES)]),
    }
    handle = sender.handle
    world.begin(sender, "send", lambda _: world.send(message, value, handle, wait=wait))
    await world.turns(b % 3)
    return True


def _may_lie_in(end: End, flow: Flow) -> bool:
    """Not a receiver in its own channel, in whatever other channels: nobody could reach them any more."""
    return end.kind != "receiver" or (flow is not end.into and not flow.receiver.is_inside(end.into))  # type: ignore[arg-type]


@step
async def send(world: World, a: int, b: int) -> bool:
    return await _send(world, a, b, 0, wait=True)


@step
async def send_nowait(world: World, a: int, b: int) -> bool:
    return await _send(world, a, b, 0, wait=False)


@step
async def send_end(world: World, a: int, b: int) -> bool:
    return await _send(world, a, b, 1, wait=True)


@step
async def send_ends(world: World, a: int, b: int) -> bool:
    return await _send(world, a, b, 1 + b % 3, wait=b % 5 > 0)


@step
async def send_lent_end(world: World, a: int, b: int) -> bool:
    """An end that another message waits with: refused, and nothing has happened."""
    await world.turns(5)  # that many take a cancelled send on trio, if it had not begun
    sender = pick(held(world, "sender", idle="send"), a)
    if sender is None:
        return False
    assert sender.out is not None
    flow = sender.out
    lent = [end for end in held(world, *ENDS) if end.carrier is not None and end.site == sender.site]
    end = pick([end for end in lent if _may_lie_in(end, flow)], b)
    if end is None:
        return False
    try:
        sender.handle.send_nowait(end.handle)
    except anyio.BusyResourceError:
        return True
    except chanlink.ChannelBroken as exc:
        world.sending_over(sender, sender.handle, exc)
        return True
    raise AssertionError("an end was sent twice")


@step
async def write(world: World, a: int, b: int) -> bool:
    end = pick([end for end in held(world, "bytes", idle="send") if end.sends_over is None], a)
    if end is None:
        return False
    world.begin(end, "send", partial(_writing, world, end, end.handle, PIECES[b % len(PIECES)]))
    await world.turns(b % 3)
    return True


async def _writing(world: World, end: End, handle: object, size: int, wait: Wait) -> None:
    await world.write(end, handle, size)


def receiving(world: World, end: End, b: int) -> Wait:
    """Begin to receive."""
    limit = LIMITS[b % len(LIMITS)] if end.kind == "bytes" else 0
    handle, wait = end.handle, b % 5 > 0 or end.kind == "bytes"
    return world.begin(end, "receive", lambda _: world.receive(end, handle, wait=wait, limit=limit))


@step
async def receive(world: World, a: int, b: int) -> bool:
    end = pick(held(world, "receiver", "bytes", idle="receive"), a)
    if end is None:
        return False
    receiving(world, end, b)
    await world.turns(b % 4)
    return True


@step
async def receive_all(world: World, a: int, b: int) -> bool:
    """One that is ready, again and again."""
    end = pick(held(world, "receiver", "bytes", idle="receive"), a)
    if end is None:
        return False
    for _ in range(3 + b % 20):
        if end.state != "held" or "receive" in end.waits or end.saw_reading is not None:
            break
        receiving(world, end, 3)
        await world.turns(2)
    return True


@step
async def flush(world: World, a: int, b: int) -> bool:
    end = pick(held(world, "sender", idle="flush"), a)
    if end is None:
        return False
    handle = end.handle
    world.begin(end, "flush", lambda _: world.flush(end, handle))
    return True


@step
async def watch(world: World, a: int, b: int) -> bool:
    end = pick([end for end in held(world, "sender", "bytes", idle="watch") if end.sends_over is None], a)
    if end is None:
        return False
    handle = end.handle
    world.begin(end, "watch", lambda _: world.watch(end, handle))
    return True


@step
async def cancel(world: World, a: int, b: int) -> bool:
    waits = [wait for end in world.ends for wait in end.waits.values()]
    wait = pick(waits, a)
    if wait is None:
        return False
    wait.scope.cancel()
    world.counts["cancelled"] += 1
    if b % 2:
        await world.turns(2)
    return True


@step
async def send_and_cancel(world: World, a: int, b: int) -> bool:
    """To a receiver that waits in the same process, and is cancelled in the same turn."""
    waiting = [end for end in held(world, "receiver") if "receive" in end.waits and end.into is not None]
    pairs = [(one, end) for end in waiting for one in end.into.senders if one in held(world, "sender", idle="send")]  # type: ignore[union-attr]
    pair = pick(pairs, a)
    if pair is None:
        return False
    await world.turns(3)
    sender, receiver = pair
    if sender.handle is None or sender.handle.is_void or "receive" not in receiver.waits:
        return False
    message = world.offer(sender, [])
    await world.send(message, {"n": message.number, "ends": []}, sender.handle, wait=False)
    receiver.waits["receive"].scope.cancel()
    return True


# --- the ends of ends -----------------------------------------------------------------------------


@step
async def close(world: World, a: int, b: int) -> bool:
    end = pick(held(world, *ENDS), a)
    if end is None:
        return False
    end.handle.close()
    closed(world, end, END, Outcome("ChannelRefused", "closed"))
    return True


def closed(world: World, end: End, sending: Outcome, reading: Outcome) -> None:
    """It is gone; what it said before stays."""
    if end.out is not None:
        end.sends_over = end.sends_over or sending
    if end.into is not None:
        end.reads_over = end.reads_over or reading
    world.gone(end)


@step
async def fail(world: World, a: int, b: int) -> bool:
    end = pick([end for end in held(world, "sender", "bytes") if end.sends_over is None], a)
    if end is None:
        return False
    failed = Outcome("ChannelFailed", f"f{world.number()}", "a text")
    end.handle.fail(failed.code, failed.text)
    if end.kind == "bytes":
        end.sends_over = failed
    else:
        closed(world, end, failed, END)
    return True


@step
async def refuse(world: World, a: int, b: int) -> bool:
    end = pick([end for end in held(world, "receiver", "bytes") if end.reads_over is None], a)
    if end is None:
        return False
    refused = Outcome("ChannelRefused", f"r{world.number()}", "a text")
    end.handle.refuse(refused.code, refused.text)
    if end.kind == "bytes":
        end.reads_over = refused
    else:
        closed(world, end, END, refused)
    return True


@step
async def half_close(world: World, a: int, b: int) -> bool:
    end = pick([end for end in held(world, "bytes", idle="send") if end.sends_over is None], a)
    if end is None:
        return False
    end.sends_over = END
    await end.handle.send_eof()
    return True


@step
async def forget(world: World, a: int, b: int) -> bool:
    """Nobody closes it: the garbage collector finds it."""
    candidates = [end for end in held(world, *ENDS) if not end.waits and end.carrier is None]
    end = pick(candidates, a)
    if end is None:
        return False
    closed(world, end, Outcome("ChannelFailed", FORGOTTEN), Outcome("ChannelRefused", FORGOTTEN))
    if b % 4 == 0:
        await world.collect()
    return True


# --- sessions and time ----------------------------------------------------------------------------


@step
async def drain_a_session(world: World, a: int, b: int) -> bool:
    """One side of it takes no new channels; nothing else changes."""
    line = pick(world.living(), a)
    if line is None or b % 3:
        return False
    site = line.sites[b % 2]
    arrived = line.sessions[site].statistics().unaccepted
    line.sessions[site].drain()
    line.drains.add(site)
    for end in line.opened[site][arrived:]:  # they are under way
        not_served(world, end)
    del line.opened[site][arrived:]
    check(line.sessions[site].state == "draining", "it drains, and does not say so", line)
    if b % 4:
        await world.turns()
        for session in line.sessions.values():
            check(session.state == "draining", "a side has not heard that the other one drains", line)
    return True


@step
async def cut(world: World, a: int, b: int) -> bool:
    line = pick(world.living(), a)
    if line is None or b % 3:
        return False
    line.dead = True
    line.sessions[line.sites[b % 2]].abort()
    return True


@step
async def connect(world: World, a: int, b: int) -> bool:
    pair = pick([pair for pair in PAIRS if not any(line.sites == pair for line in world.living())], a)
    if pair is None:
        return False
    await world.connect(pair)
    return True


@step
async def settle(world: World, a: int, b: int) -> bool:
    await world.turns()
    return True
