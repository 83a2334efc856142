"""asyncssh on both sides: commands on an open connection."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from .asyncssh_to_openssh import WORKS
from .openssh import Where

__all__ = ["WORKS", "serve"]


async def handle(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Run what the client asks for, with its streams."""
    command = shlex.split(process.command or "")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    process.exit(await child.wait())
    await process.wait_closed()


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / name)
        key.write_public_key(folder / f"{name}.pub")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "user.pub"),
        process_factory=handle,
        encoding=None,
    )
    port = server.get_port()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    yield {"folder": str(folder), "host": "127.0.0.1", "port": port, "user": "me"}
    server.close()
