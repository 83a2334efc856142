"""Processes whose system calls are refused by the kernel, as by a file system that lacks them.  Linux only."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable

import pytest

_X86_64 = {
    "link": 86,
    "linkat": 265,
    "chmod": 90,
    "fchmod": 91,
    "fchmodat": 268,
    "fchown": 93,
    "flock": 73,
    "utimensat": 280,
}
_AARCH64 = {"linkat": 37, "fchmod": 52, "fchmodat": 53, "fchown": 55, "flock": 32, "utimensat": 88}
_NUMBERS = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(platform.machine(), {})
LINKS, MODES = ("link", "linkat"), ("chmod", "fchmod", "fchmodat")

needs_refusing = pytest.mark.skipif(
    not (platform.system() == "Linux" and _NUMBERS), reason="needs Linux, and the numbers of its system calls"
)


def refusing(*calls: str, error: int = errno.EPERM) -> Callable[[], None]:
    """For ``preexec_fn``: a filter of system calls (seccomp(2)) that answers these with an error."""
    numbers = [_NUMBERS[call] for call in calls if call in _NUMBERS]
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    allow, refuse = 0x7FFF_0000, 0x0005_0000 | error
    steps = [(load, 0, 0, 0), *((equal, len(numbers) - at, 0, one) for at, one in enumerate(numbers))]
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *step) for step in [*steps, (answer, 0, 0, allow), (answer, 0, 0, refuse)])
    )
    libc = ctypes.CDLL(None, use_errno=True)

    def install() -> None:
        filter_ = struct.pack("HxxxxxxP", len(steps) + 2, ctypes.addressof(program))
        no_new_privileges, set_seccomp, by_filter = 38, 22, 2
        if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, by_filter, filter_, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return install
