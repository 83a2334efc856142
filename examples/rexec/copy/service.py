"""The copy service: one side of a copy, for peers that may ask for it.

    services = {SERVICE: copy_service(root="/srv/files")}

It is a service of its own, so that a trust file can allow it without the right to run commands, and the other way
round: ``services="copy" ssh-ed25519 AAAA... alice``.
"""

import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import anyio

import chanlink

from ..logs import logger
from ..messages import BadMessage, ends_in
from ..peers import entries_about, owner_of
from ..words import one_line
from .messages import CopyError, CopyRequest, shown, why
from .place import Place
from .receiving import receive_files
from .report import Report
from .sending import send_files
from .threads import Threads

Side = Callable[[Report], Awaitable[None]]
Refusal = Callable[[chanlink.Peer, bool, int], str | None]
"""Called with a peer, whether it wants to read, and how many copies it would have then; returns why not, or None if it
may."""
Write = Callable[[dict[str, Any]], None]
"""Writes an entry of an audit; raises `OSError`."""


def copy_service(
    root: str | os.PathLike[str] | None = None, refusal: Refusal | None = None, write: Write | None = None
) -> Callable[[chanlink.Receiver[Any], chanlink.Peer], Coroutine[Any, Any, None]]:
    """Make the service. With ``root``, only what is beneath that folder can be read and written.

    ``refusal`` is asked about each copy, and ``write`` gets an entry when one begins and ends, or is refused. Without
    them, whoever may use the service may read and write whatever this process may.
    """
    return _Service(Place(root), refusal or (lambda peer, reads, running: None), write or (lambda entry: None)).serve


AT_ONCE = 16
"""Copies that each key may have: each may keep two threads busy, and some hundred descriptors."""
NOTED = 100
"""Paths that the audit tells of a copy."""


class _Peer:
    """What the copies of one key share."""

    def __init__(self) -> None:
        self.running = 0
        self.threads = Threads()


class _Service:
    def __init__(self, place: Place, refusal: Refusal, write: Write) -> None:
        self._place = place
        self._refusal = refusal
        self._write = write
        self._peers: dict[str, _Peer] = {}
        """Those that copy now, by their keys."""

    async def serve(self, requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        """Serve one channel of requests; each copy is in a task of its own."""
        async with anyio.create_task_group() as copies:
            with suppress(chanlink.ChannelBroken, chanlink.DecodeError):
                while True:
                    try:
                        message = await requests.receive()
                    except chanlink.EndOfChannel:
                        return
                    try:
                        request = CopyRequest.from_message(message)
                    except BadMessage as exc:
                        logger.warning("%s sent a bad request: %s", peer.name, one_line(str(exc)))
                        requests.refuse("bad-request", str(exc))
                        _fail_all(message, str(exc))
                        return
                    _close_all(message, but=(request.entries, request.answers, request.report))
                    copies.start_soon(self._answer, request, peer)
                    del message, request  # the next one may be long in coming

    async def _answer(self, request: CopyRequest, peer: chanlink.Peer) -> None:
        async with request.report, request.entries, request.answers:
            with self._counted(peer) as ours:
                problem = self._problem(request, peer, ours.running)
                if not problem:
                    side = partial(_side, request, place=self._place, threads=ours.threads)
                    problem = "it was broken off"
                    try:
                        problem = await run_and_report(side, request.report)
                    finally:
                        self._note("end", request, peer, problem)
                    return
            self._note("refused", request, peer, problem)
            with suppress(chanlink.ChannelBroken):
                await Report(request.report).failed(problem)
            if request.sends:
                request.entries.fail("refused")

    def _problem(self, request: CopyRequest, peer: chanlink.Peer, running: int) -> str:
        """Why a copy does not begin; nothing if it does, and that is written down."""
        if running > AT_ONCE:
            return f"the server makes {AT_ONCE} copies at once for each key; try again when one of yours is done"
        problem = self._refusal(peer, request.sends, running)
        if problem is None and not self._note("start", request, peer):
            problem = "the server can't write its audit file"
        return problem or ""

    @contextmanager
    def _counted(self, peer: chanlink.Peer) -> Iterator[_Peer]:
        """One more of the copies of this peer."""
        owner = owner_of(peer)
        ours = self._peers.setdefault(owner, _Peer())
        ours.running += 1
        try:
            yield ours
        finally:
            ours.running -= 1
            if not ours.running:
                del self._peers[owner]

    def _note(self, event: str, request: CopyRequest, peer: chanlink.Peer, problem: str = "") -> bool:
        """In the log and the audit; whether that could be done."""
        paths = [shown(path) for path in request.paths[:NOTED]]
        if len(request.paths) > NOTED:
            paths.append(f"... and {len(request.paths) - NOTED} more")
        what = "reads" if request.sends else "writes"
        logger.info("%s %s %s: %s", peer.name, what, one_line(" ".join(paths)), one_line(problem) or event)
        entry = {"event": f"copy-{event}", **entries_about(peer), what: paths}
        try:
            self._write(entry | ({"error": problem} if problem else {}))
        except OSError as exc:
            logger.error("the audit file can't be written: %s", exc.strerror or exc)
            return False
        return True


def _fail_all(message: object, problem: str) -> None:
    """Let whatever waits at one of them know the reason."""
    for end in ends_in(message):
        if isinstance(end, chanlink.Receiver):
            end.refuse("bad-request", problem)
        else:
            end.fail("bad-request", problem)


def _close_all(message: object, but: tuple[object, ...]) -> None:
    for end in ends_in(message):
        if end not in but:
            end.close()


def _side(request: CopyRequest, report: Report, *, place: Place, threads: Threads) -> Awaitable[None]:
    if request.sends:
        return send_files(
            request.entries,
            request.answers,
            report,
            threads=threads,
            place=place,
            paths=request.paths,
            names=request.names,
            recursive=request.recursive,
            total=request.total,
        )
    return receive_files(
        request.entries,
        request.answers,
        report,
        threads=threads,
        place=place,
        path=request.paths[0],
        names=request.names,
        recursive=request.recursive,
    )


async def run_and_report(side: Side, sender: chanlink.Sender[object]) -> str:
    """Run one side of a copy and report how it ends. Returns what went wrong, or nothing."""
    report = Report(sender)
    try:
        try:
            await side(report)
        except (CopyError, BadMessage) as exc:
            await report.failed(str(exc))
            return str(exc)
        except OSError as exc:
            text = why(exc.filename, exc) if exc.filename else exc.strerror or str(exc)
            await report.failed(text)
            return text
        except chanlink.ChanlinkError as exc:
            await report.failed()
            return str(exc)
    except chanlink.ChannelBroken as exc:
        return f"nobody waits for it any more: {exc}"
    return ""
