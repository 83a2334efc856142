"""The copy service: one side of a copy, for those who may ask for it.

    services = {copying.SERVICE: copy_service(root="/srv/files")}

It is a service of its own, so that a trust file can allow it without the right to run commands, and the other way
round: ``services="copy" ssh-ed25519 AAAA... alice``.
"""

import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio

import chanlink

from .copying import CopyError, Request, shown, why
from .copying_places import Place
from .copying_receive import receive_files
from .copying_report import Report
from .copying_send import send_files
from .logs import logger
from .messages import BadMessage, ends_in, printable

Side = Callable[[Report], Awaitable[None]]
Refusal = Callable[[chanlink.Peer, bool], str | None]
"""Called with a peer and whether it wants to read; returns why not, or None if it may."""
Write = Callable[[dict[str, Any]], None]
"""Writes an entry of an audit; raises `OSError`."""


def copy_service(
    root: str | os.PathLike[str] | None = None, refusal: Refusal | None = None, write: Write | None = None
) -> Callable[[chanlink.Receiver[object], chanlink.Peer], Coroutine[Any, Any, None]]:
    """Make the service.  With ``root``, only what is beneath that folder can be read and written.

    ``refusal`` is asked about each copy, and ``write`` gets an entry when one begins and ends, or is refused. Without
    them, whoever may use the service may read and write whatever this process may.
    """
    return _Service(Place(root), refusal or (lambda peer, reads: None), write or (lambda entry: None)).serve


class _Service:
    def __init__(self, place: Place, refusal: Refusal, write: Write) -> None:
        self._place = place
        self._refusal = refusal
        self._write = write

    async def serve(self, requests: chanlink.Receiver[object], peer: chanlink.Peer) -> None:
        """Serve one channel of requests; each copy is in a task of its own."""
        async with anyio.create_task_group() as copies:
            with suppress(chanlink.ChannelBroken):
                async for message in requests:
                    try:
                        request = Request.from_message(message)
                    except BadMessage as exc:
                        logger.warning("%s sent a bad request: %s", peer.name, printable(str(exc)))
                        requests.refuse("bad-request", str(exc))
                        for end in ends_in(message):
                            end.close()
                        return
                    copies.start_soon(self._answer, request, peer)

    async def _answer(self, request: Request, peer: chanlink.Peer) -> None:
        async with request.report, request.entries, request.answers:
            problem = self._refusal(peer, request.sends)
            if problem is None and not self._note("start", request, peer):
                problem = "the server can't write its audit file"
            if problem is None:
                problem = await attend(lambda report: _side(request, report, self._place), request.report)
                self._note("end", request, peer, problem)
                return
            self._note("refused", request, peer, problem)
            with suppress(chanlink.ChannelBroken):
                await Report(request.report).failed(problem)
            if request.sends:
                request.entries.fail("refused")

    def _note(self, event: str, request: Request, peer: chanlink.Peer, problem: str = "") -> bool:
        """In the log and the audit; whether that could be done."""
        paths = [shown(path) for path in request.paths]
        what = "reads" if request.sends else "writes"
        logger.info("%s %s %s: %s", peer.name, what, printable(" ".join(paths)), printable(problem) or event)
        key = None if peer.key is None else peer.key.fingerprint
        entry = {"event": f"copy-{event}", "name": peer.name, "key": key, "from": peer.address, what: paths}
        try:
            self._write(entry | ({"error": problem} if problem else {}))
        except OSError as exc:
            logger.error("the audit file can't be written: %s", exc.strerror or exc)
            return False
        return True


def _side(request: Request, report: Report, place: Place) -> Awaitable[None]:
    if request.sends:
        return send_files(
            request.entries,
            request.answers,
            report,
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
        place=place,
        path=request.paths[0],
        names=request.names,
        recursive=request.recursive,
    )


async def attend(side: Side, sender: chanlink.Sender[object]) -> str:
    """Run one side of a copy and report how it ends.  Returns what went wrong, or nothing."""
    report = Report(sender)
    try:
        try:
            await side(report)
        except (CopyError, BadMessage) as exc:
            await report.failed(str(exc))
            return str(exc)
        except OSError as exc:
            text = why(exc.filename or "the place of the copy", exc)
            await report.failed(text)
            return text
        except chanlink.ChannelBroken as exc:
            await report.failed()
            return str(exc)
    except chanlink.ChannelBroken as exc:
        return f"nobody waits for it any more: {exc}"
    return ""
