"""pyzmq with CURVE and blocking calls; msgpack where maps are sent."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import zmq

from tests.bench.meter import Meter
from tests.bench.payload import TINY, large_message, message

from .zmq_curve import END, Where, connected, serving


def count(messages: Any, done: Any) -> None:
    while True:
        while (body := messages.recv()) != END:
            msgpack.unpackb(body)
        done.send(b".")


def echo(requests: Any) -> None:
    while True:
        requests.send(requests.recv())


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    with serving(zmq.Context.instance()) as (where, sockets):
        threading.Thread(target=count, args=(sockets["messages"], sockets["done"]), daemon=True).start()
        threading.Thread(target=echo, args=(sockets["echo"],), daemon=True).start()
        yield where


async def one_way(where: Where, meter: Meter, *, count: int) -> None:
    with connected(zmq.Context.instance(), where, "messages", "done") as (messages, done):
        messages.send(END)  # both are connected when this is over
        done.recv()
        with meter.over(count):
            for n in range(count):
                messages.send(msgpack.packb(message(n)))
            messages.send(END)
            done.recv()


async def round_trip(where: Where, meter: Meter, *, count: int) -> None:
    with connected(zmq.Context.instance(), where, "echo") as (requests,):
        for _ in range(100):
            requests.send(TINY)
            requests.recv()
        with meter.over(count):
            for _ in range(count):
                requests.send(TINY)
                requests.recv()


async def large(where: Where, meter: Meter, *, count: int, size: int) -> None:
    body = bytes(size)
    with connected(zmq.Context.instance(), where, "messages", "done") as (messages, done):
        messages.send(END)
        done.recv()
        with meter.over(count // size * size):
            for n in range(count // size):
                messages.send(msgpack.packb(large_message(n, body)))
            messages.send(END)
            done.recv()


WORKS = {"one_way": one_way, "round_trip": round_trip, "large": large}
