"""Becomes the shell that pages are pasted into: on the terminal that it is started with, in a network of its own.

`private` leaves the network of the machine for a new one, which has nothing but its loopback; `try` does only that,
and says by its status whether it may.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
import termios

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def leave_network() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH", b"lo", IFF_UP))


def main(how: str = "") -> None:
    if how in ("private", "try"):
        leave_network()
    if how != "try":
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.execvp("bash", ["bash", "-i"])


if __name__ == "__main__":
    main(*sys.argv[1:])
