"""Asks several servers twice, and has the picture drawn by graphviz."""

import argparse
import subprocess
from typing import Any

import anyio

import chanlink
from chanlink.command.problems import Problem, explain
from chanlink.command.sessions import connected
from chanlink.observing.graph.picture import Asked, Picture, picture
from chanlink.observing.graph.reading import Report, read

from .asking import SERVICE, ask

BETWEEN = 0.3
"""Seconds between the two times that each server is asked: what has gone on by then is no deadlock."""
LONGEST_DRAWING = 30.0


async def look(options: argparse.Namespace) -> Picture:
    """What the servers tell now; those that can't be asked are in it with the reason."""
    found: dict[str, Asked] = {}
    addresses = [server.address for server in options.servers]
    meeting = _Meeting(addresses)

    async def one(server: argparse.Namespace) -> None:
        address: str = server.address
        try:
            first, second = await _ask_twice(server, meeting)
            found[address] = Asked(address, (first, second), "")
        except* (chanlink.ChanlinkError, Problem, OSError) as group:
            words = explain(_first(group), server) or ""
            found[address] = Asked(address, None, words.removeprefix(f"{address}: "))
        finally:
            meeting.comes(address)

    async with anyio.create_task_group() as tasks:
        for server in options.servers:
            tasks.start_soon(one, server)
    return picture([found[address] for address in addresses], everything=options.all)


def _first(error: BaseException) -> Exception:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error


class _Meeting:
    """Nobody is asked again before all have answered once: their reports are of one time then."""

    def __init__(self, expected: list[str]) -> None:
        self._missing = set(expected)
        self._all_here = anyio.Event()

    def comes(self, address: str) -> None:
        """This server has answered once, or will not."""
        self._missing.discard(address)
        if not self._missing:
            self._all_here.set()

    async def wait(self) -> None:
        await self._all_here.wait()


async def _ask_twice(server: argparse.Namespace, meeting: _Meeting) -> tuple[Report, Report]:
    reports: list[Report] = []
    async with connected(server) as session, await session.open(SERVICE) as requests:
        for number in (0, 1):
            if number:
                meeting.comes(server.address)
                await meeting.wait()
                await anyio.sleep(BETWEEN)
            reports.append(read(await ask(session, requests, tasks=True), server.address))
    return reports[0], reports[1]


async def drawn(text: str) -> str:
    """SVG of a graph in graphviz's language."""
    try:
        with anyio.fail_after(LONGEST_DRAWING):
            process: Any = await anyio.run_process(["dot", "-Tsvg"], input=text.encode(), stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise Problem("drawing needs the program dot: install graphviz; --dot and --json work without") from None
    except TimeoutError:
        raise Problem("the picture is too large to be drawn; --dot and --json work") from None
    except subprocess.CalledProcessError as exc:
        raise Problem(f"dot failed: {exc.stderr.decode(errors='replace').strip()[:200]}") from exc
    svg: str = process.stdout.decode()
    return svg[svg.index("<svg") :]
