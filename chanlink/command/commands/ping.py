"""``chanlink ping``: is a server there, is it the right one, and how far is it?"""

import argparse
import time
from typing import Any

import anyio

import chanlink
from chanlink.command.options import SERVER, add_command, add_expectations, natural, positive
from chanlink.command.output import add_json, milliseconds, print_json
from chanlink.command.problems import Problem
from chanlink.command.sessions import connected, in_event_loop

SHORTEST = 0.05
"""Seconds between two pings: more of them are a flood to the other side."""

NOTES = """\
Connects, proves both keys, and measures round trips inside the encrypted session; the server need not offer a service.
"connected" is all until the server's welcome: looking up the name, TCP, and the handshake. Interrupted, it says what it
has measured until then.

examples:
  chanlink ping tcp://build:9323
  chanlink ping --peer build.pub -c 1 tcp://build:9323 && echo it is there
  chanlink ping --first-use tcp://build:9323       trust whoever answers there, and remember the key
  chanlink ping --json tcp://build:9323 | jq .round_trip_ms.min
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "ping", "Connect to a server and measure round trips.", NOTES)
    parser.add_argument("address", metavar="ADDRESS", help=SERVER)
    parser.add_argument(
        "-c", "--count", metavar="N", type=natural, default=4, help="how many; 0: until interrupted (default: 4)"
    )
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=_interval, default=0.5, help="between two (default: 0.5)"
    )
    add_expectations(parser)
    add_json(parser, "what was measured")
    parser.set_defaults(action=in_event_loop(_ping))


def _interval(text: str) -> float:
    value = positive(text)
    if value < SHORTEST:
        raise argparse.ArgumentTypeError(f"at least {SHORTEST:g} s: more are a flood to the other side")
    return value


async def _ping(options: argparse.Namespace) -> int:
    from chanlink.security import suites

    suites.offer()  # finding out what this machine is fast with is no part of the handshake
    began = time.monotonic()
    async with connected(options) as session:
        handshake = time.monotonic() - began
        about = _about(session, handshake, options)
        if not options.json:
            known = "" if about["name"] == about["fingerprint"] else f" is {about['name']},"
            print(f"{options.address}{known} key {about['fingerprint']}")
            print(f"connected in {milliseconds(handshake)} ms, suite {about['suite']}", flush=True)
        trips: list[float] = []
        try:
            await _measure(session, options, trips)
        finally:
            with anyio.CancelScope(shield=True):
                _summarize(about, trips, options)
    return 0


def _about(session: "chanlink.Session", handshake: float, options: argparse.Namespace) -> dict[str, Any]:
    key = session.peer.key
    assert key is not None
    return {
        "address": options.address,
        "name": session.peer.name,
        "fingerprint": key.fingerprint,
        "public_key": str(type(key)(key.raw)),
        "suite": session.suite,
        "connected_ms": round(1000 * handshake, 3),
    }


async def _measure(session: "chanlink.Session", options: argparse.Namespace, trips: list[float]) -> None:
    while not options.count or len(trips) < options.count:
        if trips:
            await anyio.sleep(options.interval)
        try:
            with anyio.fail_after(options.timeout):
                trips.append(await session.ping())
        except TimeoutError as exc:
            raise Problem(f"{options.address}: no answer within {options.timeout:g} s") from exc
        if not options.json:
            print(f"round trip {len(trips)}: {milliseconds(trips[-1])} ms", flush=True)


def _summarize(about: dict[str, Any], trips: list[float], options: argparse.Namespace) -> None:
    found = [min(trips), sum(trips) / len(trips), max(trips)] if trips else []
    if options.json:
        names = zip(("min", "avg", "max"), found, strict=False)
        summary = {name: round(1000 * value, 3) for name, value in names}
        print_json({**about, "round_trips_ms": [round(1000 * trip, 3) for trip in trips], "round_trip_ms": summary})
    elif trips:
        print(f"{len(trips)} round trips, min/avg/max {'/'.join(map(milliseconds, found))} ms", flush=True)
