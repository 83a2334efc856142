"""``chanlink bench``: figures from a server that is there for it, and a line from any other one."""

import json

import pytest

from tests.command.calls import ANYWHERE, Keys, assert_one_line, run, serving

pytestmark = pytest.mark.slow


def test_bench_measures(keys: Keys, server: str) -> None:
    found = json.loads(run(keys.home, "bench", "--seconds", "0.1", "--json", *keys.client, server)[0])
    figures = {"round_trip_ms", "message_and_echo_ms", "messages_s", "sent_bytes_s", "received_bytes_s"}
    assert figures < set(found)
    assert all(found[name] > 0 for name in figures)
    out, _ = run(keys.home, "bench", "--seconds", "0.1", *keys.client, server)
    assert len(out.splitlines()) == 6
    assert out.count("/s") == 3


def test_bench_against_a_server_that_has_none_is_one_line(keys: Keys) -> None:
    with serving(keys, "forward", "--serve", ANYWHERE, "--allow", "tcp://127.0.0.1:1") as server:
        refused = run(keys.home, "bench", "--json", *keys.client, server.address, status=1)
        assert_one_line(refused, "'chanlink.bench'", "trust file")
        assert_one_line(run(keys.home, "top", "--once", *keys.client, server.address, status=1), "'chanlink.top'")
