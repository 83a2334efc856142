"""What ``make demo`` shows: real processes, real keys, a server on a free loopback port, and a stranger.

It exits non-zero when anything is not as it should be.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chanlink import Identity

REXEC = [sys.executable, "-m", "examples.rexec"]
SIZE = 256 * 1024 * 1024
PIECE = 1024 * 1024


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="chanlink-demo-") as folder:
        demo = Demo(Path(folder))
        print("Two identities (and a stranger's), as ssh-keygen would make them:")
        for name in ("server", "alice", "stranger"):
            print(f"  {name:9}{demo.make_identity(name)}")
        demo.trust("alice")
        with demo.serving() as address:
            print(f"A server at {address}, which trusts alice.\n")
            demo.pipe_through_sha256sum(address)
            demo.pipe_through_cat(address)
            demo.exit_status(address)
            demo.both_outputs(address)
            demo.stranger(address)
            demo.wrong_server(address)
        print("\neverything was as it should be" if not demo.problems else f"\nPROBLEMS: {', '.join(demo.problems)}")
        return 1 if demo.problems else 0


class Demo:
    """The steps; what differs from what it should be is collected in `problems`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def make_identity(self, name: str) -> str:
        identity = Identity.generate(name)
        identity.save(self.folder / name)
        return identity.public_key.fingerprint

    def trust(self, name: str) -> None:
        (self.folder / "trust").write_text((self.folder / f"{name}.pub").read_text())

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run a server; gives its address, from the line that it prints when it is ready."""
        command = [*REXEC, "serve", "--listen", "tcp://127.0.0.1:0"]
        command += ["--identity", str(self.folder / "server"), "--trust", str(self.folder / "trust")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            words = server.stdout.readline().split()
            try:
                yield next(word for word in words if word.startswith("tcp://"))
            finally:
                server.terminate()

    def run(self, address: str, *words: str, who: str = "alice", peer: str = "server") -> list[str]:
        identity, key = str(self.folder / who), str(self.folder / f"{peer}.pub")
        return [*REXEC, "run", "--identity", identity, "--peer", key, address, "--", *words]

    def check(self, what: str, fine: bool) -> str:
        if not fine:
            self.problems.append(what)
        return "as it should be" if fine else "WRONG"

    # --- the steps ---

    def pipe_through_sha256sum(self, address: str) -> None:
        print(f"A file of {SIZE >> 20} MiB of random bytes, through the remote command sha256sum:")
        file = self.folder / "random"
        digest = hashlib.sha256()
        with file.open("wb") as out:
            for _ in range(SIZE // PIECE):
                piece = os.urandom(PIECE)
                digest.update(piece)
                out.write(piece)
        self.digest = digest.hexdigest()
        began = time.monotonic()
        with file.open("rb") as source:
            done = subprocess.run(
                self.run(address, "sha256sum"), stdin=source, capture_output=True, text=True, check=False
            )
        remote = done.stdout.partition(" ")[0]
        verdict = self.check("sha256sum", done.returncode == 0 and remote == self.digest)
        print(f"  local   {self.digest}\n  remote  {remote}\n  {verdict}, {_rate(began)}")

    def pipe_through_cat(self, address: str) -> None:
        print("The same file through the remote command cat, and back:")
        began = time.monotonic()
        digest = hashlib.sha256()
        with (
            (self.folder / "random").open("rb") as source,
            subprocess.Popen(self.run(address, "cat"), stdin=source, stdout=subprocess.PIPE) as client,
        ):
            assert client.stdout is not None
            while piece := client.stdout.read(PIECE):
                digest.update(piece)
        verdict = self.check("cat", client.returncode == 0 and digest.hexdigest() == self.digest)
        print(f"  back    {digest.hexdigest()}\n  {verdict}, {_rate(began)} each way")

    def exit_status(self, address: str) -> None:
        status = subprocess.run(
            self.run(address, "sh", "-c", "exit 4"), stdin=subprocess.DEVNULL, check=False
        ).returncode
        print(f"A command that exits with 4: its status here is {status}, {self.check('status', status == 4)}")

    def both_outputs(self, address: str) -> None:
        script = "echo to the output; echo to the errors >&2"
        done = subprocess.run(
            self.run(address, "sh", "-c", script), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        fine = (done.stdout, done.stderr) == (b"to the output\n", b"to the errors\n")
        print(f"A command that writes to both outputs: {self.check('outputs', fine)}")
        print(f"  stdout  {done.stdout!r}\n  stderr  {done.stderr!r}")

    def stranger(self, address: str) -> None:
        print("What a stranger sees, whom the server does not trust:")
        self._refused(self.run(address, "id", who="stranger"))

    def wrong_server(self, address: str) -> None:
        print("What alice sees when the server has another key than she expects:")
        self._refused(self.run(address, "id", peer="stranger"))

    def _refused(self, command: list[str]) -> None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        fine = done.returncode == 255 and done.stdout == "" and len(done.stderr.splitlines()) == 1
        verdict = self.check("refusal", fine)
        print(f"  {done.stderr.strip()}\n  exit status {done.returncode}, {verdict}")


def _rate(began: float) -> str:
    seconds = time.monotonic() - began
    return f"{SIZE / seconds / 1e6:.0f} MB/s ({seconds:.1f} s in all)"


if __name__ == "__main__":
    raise SystemExit(main())
