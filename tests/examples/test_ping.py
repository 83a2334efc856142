"""Ping: both sides measure, over one session, until one of them is interrupted."""

import signal
from collections.abc import Callable

import pytest

from tests.patience import PATIENCE

from .programs import Programs

pytestmark = pytest.mark.slow


def test_each_side_pings_the_other_until_ctrl_c(programs: Callable[[str], Programs]) -> None:
    here = programs("ping/ping.py")
    here.serve("unix:socket")
    client = here.client("call", "alice", "--count", "1000000000", "unix:socket")
    assert client.stdout
    pings = set()
    while len(pings) < 2:
        who, _, took = client.stdout.readline().partition(": ")
        assert took.endswith(" ms\n")
        pings.add(who)
    assert pings == {"we ping server", "server pings us"}
    client.send_signal(signal.SIGINT)
    _, complaints = client.communicate(timeout=PATIENCE)
    assert (client.returncode, complaints) == (130, "")


def test_what_the_other_side_asks_for_is_bounded(programs: Callable[[str], Programs]) -> None:
    here = programs("ping/ping.py")
    here.serve("unix:socket")
    output, _ = here.client("call", "alice", "--count", "101", "unix:socket").communicate(timeout=PATIENCE)
    assert output.count("we ping server") == 101
    assert output.count("server pings us") == 100
