"""Two network namespaces of Linux with a cable between them, and this thread in either of them.

A socket belongs to the namespace in which it was made, so that one process can be at both ends of the cable.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
NETWORK = "10.213.97"
SERVER = f"{NETWORK}.1"


class Cable:
    """Between the namespaces ``server`` and ``client``."""

    def __init__(self, name: str) -> None:
        self.server, self.client = f"{name}-s", f"{name}-c"
        self._here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def lay(self) -> None:
        for namespace in (self.server, self.client):
            _run("ip", "netns", "add", namespace)
            _run("ip", "-n", namespace, "link", "set", "lo", "up")
        _run(
            "ip", "link", "add", "cable", "netns", self.server, "type", "veth", "peer", "name", "cable",
            "netns", self.client,
        )  # fmt: skip
        self.find()
        for namespace in (self.server, self.client):
            _run("ip", "-n", namespace, "link", "set", "cable", "up")

    def be(self, host: int) -> None:
        """The client has this address of the network, and no other one any more."""
        _run("ip", "-n", self.client, "addr", "flush", "dev", "cable")
        _run("ip", "-n", self.client, "addr", "add", f"{NETWORK}.{host}/24", "dev", "cable")

    def lose(self) -> None:
        """What is sent to the server gets lost."""
        _run("ip", "-n", self.server, "addr", "flush", "dev", "cable")

    def find(self) -> None:
        """The server has its address, at the beginning and after `lose`."""
        _run("ip", "-n", self.server, "addr", "add", f"{SERVER}/24", "dev", "cable")

    def enter(self, namespace: str) -> None:
        """Sockets that this thread makes are there from now on."""
        there = os.open(Path("/run/netns", namespace), os.O_RDONLY)
        try:
            _set_namespace(there)
        finally:
            os.close(there)

    def roll_up(self) -> None:
        _set_namespace(self._here)
        os.close(self._here)
        for namespace in (self.server, self.client):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


@contextmanager
def cable() -> Iterator[Cable]:
    """Skips the test where there can be none: it takes root, and a kernel that has namespaces."""
    if os.geteuid() != 0 or not shutil.which("ip") or not Path("/proc/thread-self/ns/net").exists():
        pytest.skip("a move between networks takes root, `ip` and network namespaces")
    laid = Cable(f"chanlink-{os.getpid()}")
    try:
        try:
            laid.lay()
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"no network namespaces here: {exc.stderr.decode().strip()}")
        yield laid
    finally:
        laid.roll_up()


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
