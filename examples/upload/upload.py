"""Uploads, with progress: one that was stopped half-way goes on where it was."""

import argparse
import hashlib
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import BinaryIO

import anyio
import chanlink

from store import STORE, Folder, Store


async def serve(options: argparse.Namespace) -> None:
    await chanlink.serve(
        {"store": STORE.serving(Folder(anyio.Path(options.folder)))},
        options.address,
        identity=chanlink.Identity.load(options.identity),
        trust=chanlink.Trust.load(options.trust),
        signals=(SIGINT, SIGTERM),
    )


async def put(options: argparse.Namespace) -> None:
    async with chanlink.connect(
        options.address,
        identity=chanlink.Identity.load(options.identity),
        peer=chanlink.PublicKey.load(options.peer),
        wait=options.wait,
    ) as session:
        await upload(STORE.client(session, "store"), Path(options.file), options.rate)


async def upload(store: Store, path: Path, rate: float | None) -> None:
    with path.open("rb") as file:
        digest = await anyio.to_thread.run_sync(lambda: hashlib.file_digest(file, "sha256").hexdigest())
        size = file.seek(0, 2)
        begin = await store.have(digest)
        file.seek(begin)
        if begin:
            print(f"{path.name}: goes on at {percent(begin, size)}", flush=True)
        async with (
            chanlink.wrap(slowly(file, rate) if rate else file, size - begin) as body,
            aclosing(store.put(path.name, digest, begin, body)) as progress,
        ):
            shown = ""
            async for stored in progress:
                if (now := percent(stored, size)) != shown:
                    shown = now
                    print(f"{path.name}: {shown}", flush=True)
    print(f"{path.name} is there", flush=True)


async def slowly(file: BinaryIO, rate: float) -> AsyncGenerator[bytes, None]:
    """What is left of a file, no faster than so many megabytes a second."""
    while piece := file.read(65_536):
        yield piece
        await anyio.sleep(len(piece) / (rate * 1_000_000))


def percent(part: int, whole: int) -> str:
    return f"{100 * part // whole if whole else 100} %"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Upload a file; after a Ctrl-C, the same command goes on with it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="take files")
    serving.add_argument("--trust", metavar="FILE", required=True, help="the public keys of those who may connect")
    serving.add_argument("folder", metavar="FOLDER", help="where they are put")
    serving.set_defaults(run=serve)
    putting = commands.add_parser("put", help="bring a file")
    putting.add_argument("--peer", metavar="FILE", required=True, help="the server's public key")
    putting.add_argument("--wait", metavar="SECONDS", type=float, default=0, help="for a server that is being started")
    putting.add_argument("--rate", metavar="MB/S", type=float, help="no faster than this")
    putting.add_argument("file", metavar="FILE", help="which")
    putting.set_defaults(run=put)
    for command in (serving, putting):
        command.add_argument("--identity", metavar="FILE", required=True, help="our private key")
        command.add_argument("--address", default="tcp://127.0.0.1:9323", help="tcp://HOST:PORT or unix:/PATH")
    return parser.parse_args()


def main() -> None:
    options, status = parse(), 0
    try:
        anyio.run(options.run, options)
    except* (chanlink.ChanlinkError, OSError) as errors:
        print(f"upload: {errors.exceptions[0]}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
