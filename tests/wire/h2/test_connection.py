"""h2 as chanlink needs it: the connection that counts, and the short ways of frames."""

from typing import Any

import h2.exceptions
import pytest
from h2.settings import SettingCodes
from hyperframe import frame as hf

from chanlink.wire.h2 import frames
from chanlink.wire.h2.connection import Connection, settings
from chanlink.wire.h2.frames import MAX_FRAME_SIZE
from chanlink.wire.h2.rules import BrokenRule

SETTINGS = settings(open_channels=10_000, stream_window=65_536)
FIELDS = [(b"kind", b"receiver"), (b"service", b"service")]


def connection(client_side: bool = False, open_channels: int = 10_000) -> Connection:
    values = SETTINGS | {SettingCodes.MAX_CONCURRENT_STREAMS: open_channels}
    return Connection(client_side=client_side, our_settings=values, peer_settings=values)


def pair() -> tuple[Connection, Connection]:
    client, server = connection(True), connection()
    for one in (client, server):
        one.initiate_connection()
        one.open_connection_window()
    for _ in range(2):
        exchange(client, server)
    return client, server


def exchange(client: Connection, server: Connection) -> list[Any]:
    events = list(server.receive(client.data_to_send(), 0.0))
    return events + list(client.receive(server.data_to_send(), 0.0))


def test_settings_are_in_force_before_they_arrive_and_are_those_of_the_protocol() -> None:
    one = connection(True, open_channels=7)
    assert one.max_outbound_frame_size == one.max_inbound_frame_size == MAX_FRAME_SIZE
    assert one.remote_settings.max_concurrent_streams == 7
    one.initiate_connection()
    data = one.data_to_send().removeprefix(frames.PREFACE)
    frame, _ = hf.Frame.parse_frame_header(memoryview(data[:9]))
    frame.parse_body(memoryview(data[9:]))
    assert isinstance(frame, hf.SettingsFrame)
    assert frame.settings == {2: 0, 3: 7, 4: 65_536, 5: MAX_FRAME_SIZE, 6: 4_096}


def test_open_streams_are_counted_on_both_sides_and_forgotten_when_they_close() -> None:
    client, server = pair()
    for number in range(1_000):
        client.send_headers(2 * number + 1, FIELDS)
        server.send_headers(2 * number + 2, FIELDS)
        exchange(client, server)
    assert (client.open_outbound_streams, client.open_inbound_streams) == (1_000, 1_000)
    assert (server.open_outbound_streams, server.open_inbound_streams) == (1_000, 1_000)
    for number in range(1_000):
        client.send_data(2 * number + 1, b"", end_stream=True)
        exchange(client, server)
        server.send_headers(2 * number + 1, [(b"taken", b"0")], end_stream=True)
        assert server.reap(2 * number + 1)
        exchange(client, server)
    assert (client.open_outbound_streams, server.open_inbound_streams) == (0, 0)
    assert len(client.streams) == len(server.streams) == 1_000
    assert len(client._closed_streams) <= 256
    assert not client.reap(2)  # it is open
    assert client.reap(1)  # it is gone


def test_events_come_frame_by_frame() -> None:
    """So that what comes before a broken rule is heard, wherever the chunk was cut."""
    client, server = pair()
    client.send_headers(1, FIELDS)
    client.send_data(1, b"before")
    events = server.receive(client.data_to_send() + hf.PriorityFrame(1).serialize(), 0.0)
    assert next(events) == frames.Block(1, dict(FIELDS), ended=False, opens=True)
    assert next(events) == frames.Data(1, b"before")
    with pytest.raises(BrokenRule):
        next(events)


def test_extension_frames_pass_in_every_state_of_a_stream() -> None:
    client, server = pair()
    for _ in range(2):
        client.send_extension(frames.TAKEN, 1, bytes(8))
        (event,) = exchange(client, server)
        assert event == frames.Extension(frames.TAKEN, 1, bytes(8))
        if 1 not in client.streams:
            client.send_headers(1, FIELDS)
            client.send_data(1, b"", end_stream=True)
            exchange(client, server)


def test_the_window_of_the_connection_is_refilled_at_half() -> None:
    client, server = pair()
    assert server.inbound_flow_control_window == 2**30
    server._inbound_flow_control_window_manager.current_window_size = 2**29
    server.refill_connection_window()
    assert server.data_to_send() == b""
    server._inbound_flow_control_window_manager.current_window_size = 2**29 - 1
    client.outbound_flow_control_window = 2**29 - 1
    server.refill_connection_window()
    exchange(client, server)
    assert client.outbound_flow_control_window == server.inbound_flow_control_window == 2**30


# --- short ways come to the same as the long ones -----------------------------------------------


def state(one: Connection) -> tuple[Any, ...]:
    stream = one.streams.get(1)
    windows = (stream.inbound_flow_control_window, stream.outbound_flow_control_window) if stream else None
    machine = (stream.state_machine.state, stream.state_machine.headers_received) if stream else None
    return one.inbound_flow_control_window, one.outbound_flow_control_window, windows, machine, one._open_count


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("answered", [False, True])
def test_data_that_come_the_short_way_count_as_h2_counts_them(ended: bool, answered: bool) -> None:
    states = []
    for short in (True, False):
        client, server = pair()
        client.send_headers(1, FIELDS)
        exchange(client, server)
        if answered:
            server.send_headers(1, [(b"accepted", b"")], end_stream=True)
            exchange(client, server)
        if not short:
            server._take_data = lambda *frame: False  # type: ignore[method-assign]
        client.send_data(1, bytes(1_000))
        client.send_data(1, b"abc", end_stream=ended)
        events = exchange(client, server)
        assert [event.data for event in events if hasattr(event, "data")] == [bytes(1_000), b"abc"]
        states.append(state(server))
    assert states[0] == states[1]


@pytest.mark.parametrize("size", [0, 1, 3 * 4_096, 3 * 4_096 + 1, MAX_FRAME_SIZE])
@pytest.mark.parametrize("ended", [False, True])
def test_data_that_go_the_short_way_are_those_of_h2(size: int, ended: bool) -> None:
    data, sent = bytes(range(256)) * 256, []
    for short in (True, False):
        client, server = pair()
        client.send_headers(1, FIELDS)
        exchange(client, server)
        if short:
            parts = [data[: size // 3], data[size // 3 : size // 2], memoryview(data)[size // 2 : size]]
            client.send_parts(1, parts, size, end_stream=ended)
        else:
            client.send_data(1, data[:size], end_stream=ended)
        sent.append((b"".join(client.take_output()), state(client)))
    assert sent[0] == sent[1]


def test_what_the_short_way_can_not_send_h2_refuses() -> None:
    client, server = pair()
    client.send_headers(1, FIELDS)
    exchange(client, server)
    with pytest.raises(h2.exceptions.FlowControlError):
        client.send_parts(1, [bytes(65_537)], 65_537, end_stream=False)
    with pytest.raises(h2.exceptions.H2Error):
        client.send_parts(3, [b"x"], 1, end_stream=False)
