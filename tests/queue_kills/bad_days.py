"""What can happen to a store, and to the clocks."""

import ctypes
from pathlib import Path

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
SIZE = 64 * 1024 * 1024


class Clock:
    """The wall clock of all processes; that of the database too, if there is libfaketime. The clocks that tell how much
    time has gone by run on, as those of a real machine do."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"
        folder.chmod(0o755)  # whoever runs the database looks at it, too
        self.of_database: dict[str, str] = {}
        """Variables of its environment."""
        self.set(0)
        if FAKETIME:
            self.of_database = {
                "LD_PRELOAD": str(FAKETIME[0]),
                "FAKETIME_TIMESTAMP_FILE": str(self.file),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_CACHE_DURATION": "1",
            }

    def set(self, seconds: int) -> None:
        """So many before or after what it is."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)


class Disk:
    """A small file system for the store, which can be full. Without the right to mount one, it never is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"size={SIZE}".encode()
        self.is_small = libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, options) == 0
        self._unmount = libc.umount2

    def fill(self) -> None:
        """To the last byte."""
        with (self._folder / "filler").open("ab", buffering=0) as file:
            piece = bytes(65_536)
            while piece:
                try:
                    file.write(piece)
                except OSError:
                    piece = piece[: len(piece) // 2]

    def empty(self) -> None:
        (self._folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_small:
            self._unmount(bytes(self._folder), 2)  # MNT_DETACH: whatever still holds it
