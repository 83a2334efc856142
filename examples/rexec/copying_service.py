"""The copy service: one side of a copy, for those who may ask for it.

    services = {copying.SERVICE: copy_service(root="/srv/files")}

It is a service of its own, so that a trust file can allow it without the right to run commands, and the other way
round: ``services="copy" ssh-ed25519 AAAA... alice``.
"""

import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

import chanlink

from .copying import CopyError, Request, shown, why
from .copying_places import Place
from .copying_receive import receive_files
from .copying_report import Report
from .copying_send import send_files
from .messages import BadMessage, ends_in, printable

logger = logging.getLogger("rexec")

Side = Callable[[Report], Awaitable[None]]


def copy_service(
    root: str | os.PathLike[str] | None = None, *, allow: Callable[[chanlink.Peer, bool], str | None] | None = None
) -> Callable[[chanlink.Receiver[object], chanlink.Peer], Awaitable[None]]:
    """Make the service.  With ``root``, only what is beneath that folder can be read and written.

    ``allow`` is asked for each copy: with the peer, and whether it wants to read; what it returns is why not.
    """
    place = Place(root)

    async def copy(requests: chanlink.Receiver[object], peer: chanlink.Peer) -> None:
        """Serve one channel of requests, each in a task of its own."""
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
                    refusal = allow(peer, request.sends) if allow else None
                    copies.start_soon(_answer, request, refusal, place, peer)

    return copy


async def _answer(request: Request, refusal: str | None, place: Place, peer: chanlink.Peer) -> None:
    what = f"{'reads' if request.sends else 'writes'} {', '.join(map(shown, request.paths))}"
    logger.info("%s %s", peer.name, printable(what))
    async with request.entries, request.answers, request.report:
        if refusal is None:
            problem = await attend(lambda report: _side(request, report, place), request.report)
        else:
            problem = refusal
            with suppress(chanlink.ChannelBroken):
                await Report(request.report).failed(refusal)
            request.entries.fail("refused") if request.sends else request.entries.refuse("refused")
    logger.info("%s: %s: %s", peer.name, printable(what), printable(problem) or "done")


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
