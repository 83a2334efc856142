"""``chanlink ping``: who answers, and how far it is."""

import json
import re
import signal
import subprocess

import pytest

from chanlink import Identity
from tests.command.calls import ANYWHERE, COMMAND, PATIENCE, Keys, assert_one_line, environment, run, serving

pytestmark = pytest.mark.slow


def test_ping_says_who_answers_and_how_far_it_is(keys: Keys, server: str) -> None:
    out, err = run(keys.home, "ping", "-c3", "-i0.05", *keys.client, server)
    key = Identity.load(keys.home / "server").public_key
    lines = out.splitlines()
    assert lines[0] == f"{server} is server, key {key.fingerprint}"
    assert re.fullmatch(r"connected in [\d.]+ ms, suite (aegis256|chachapoly)", lines[1])
    assert [line.partition(":")[0] for line in lines[2:5]] == ["round trip 1", "round trip 2", "round trip 3"]
    assert re.fullmatch(r"3 round trips, min/avg/max [\d.]+/[\d.]+/[\d.]+ ms", lines[5])
    assert err == ""
    found = json.loads(run(keys.home, "ping", "-c2", "-i0.05", "--json", *keys.client, server)[0])
    assert (found["fingerprint"], len(found["round_trips_ms"])) == (key.fingerprint, 2)
    assert found["round_trip_ms"]["min"] <= found["round_trip_ms"]["avg"] <= found["round_trip_ms"]["max"]


@pytest.mark.usefixtures("loop")
def test_ping_runs_on_every_event_loop(keys: Keys, server: str) -> None:
    assert "1 round trips" in run(keys.home, "ping", "-c1", *keys.client, server)[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ping_until_interrupted_or_the_server_is_killed(keys: Keys, number: int) -> None:
    with serving(keys, "bench", "--listen", ANYWHERE) as server:
        words = [*COMMAND, "ping", "-c0", "-i0.05", *keys.client, server.address]
        environ = environment(keys.home)
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdout=pipe, stderr=pipe, env=environ, cwd=keys.home, text=True) as client:
            assert client.stdout is not None
            while "round trip 2" not in client.stdout.readline():
                pass
            (client if number == signal.SIGINT else server.process).send_signal(number)
            out, err = client.communicate(timeout=PATIENCE)
        assert "min/avg/max" in out
        if number == signal.SIGINT:
            assert (client.returncode, err) == (-signal.SIGINT, "")
        else:
            assert client.returncode == 1
            assert_one_line(("", err), server.address)
