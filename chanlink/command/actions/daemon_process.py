"""A daemon as a process: what its options and its environment say, and its log."""

import argparse
import logging
import os
from pathlib import Path

import anyio

import chanlink
from chanlink.command.output import note
from chanlink.command.sessions import until_stopped
from chanlink.daemon.folder import Folder
from chanlink.daemon.given import Given, notify
from chanlink.daemon.running import Place, running
from chanlink.handover.folder import folder as run_folder

LISTEN = "tcp://0.0.0.0:9323"


async def run_daemon(options: argparse.Namespace) -> None:
    """Run a daemon until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(chanlink.PrintableLog())
    folder = Folder.opened(options.folder)
    given = Given.taken(os.environ)
    run = Path(options.run or run_folder()).expanduser().absolute()
    audit = Path(options.audit).expanduser() if options.audit else folder.audit

    async def serve() -> None:
        async with running(Place(folder, run, _listen(options, given)), audit=audit, given=given) as daemon:
            note(f"public key {folder.host().public_key}")
            note(f"listening on {' '.join([*daemon.addresses, str(run)])}")
            notify(os.environ, "READY=1")
            await anyio.sleep_forever()

    await until_stopped(serve)


def _listen(options: argparse.Namespace, given: Given) -> list[str]:
    if options.listen is not None:
        return list(options.listen)
    return [] if options.no_listen or given.network else [LISTEN]
