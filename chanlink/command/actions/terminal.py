"""A terminal on which lines are shown anew again and again, until q is pressed; afterwards it is as it was."""

import os
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Self

import anyio

from chanlink.command.interrupts import heeding

from .stdio import Watch

CLEAR, HOME, REST = "\x1b[2J", "\x1b[H", "\x1b[J"
OTHER_SCREEN, OWN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
NO_KEYS: Mapping[bytes, Callable[[], None]] = MappingProxyType({})


def is_terminal() -> bool:
    """Whether both standard input and output are one: keys come from the one, lines go to the other."""
    return os.isatty(0) and os.isatty(1)


async def renew(
    draw: Callable[["Terminal"], Awaitable[None]], interval: float, keys: Mapping[bytes, Callable[[], None]] = NO_KEYS
) -> None:
    """Call `draw` each `interval` seconds until somebody quits; `keys` are called when they are pressed.

    Raises what that raises, once the terminal is as it was: so it can be read.
    """
    problems: list[BaseException] = []
    with Terminal(keys) as terminal:
        async with anyio.create_task_group() as tasks:

            async def refresh() -> None:
                try:
                    while True:
                        await draw(terminal)
                        await anyio.sleep(interval)
                except Exception as exc:
                    problems.append(exc)
                    tasks.cancel_scope.cancel()

            tasks.start_soon(refresh)
            await terminal.until_quit()
            tasks.cancel_scope.cancel()
    if problems:
        raise problems[0]


class Terminal:
    """Our terminal, as long as the block lasts; a context manager, after which it is as it was."""

    def __init__(self, keys: Mapping[bytes, Callable[[], None]] = NO_KEYS) -> None:
        self._keys = keys

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _take(self) -> None:
        self._modes = termios.tcgetattr(0)
        tty.setcbreak(0)
        sys.stdout.write(OTHER_SCREEN + CLEAR)
        sys.stdout.flush()

    def _give_back(self) -> None:
        termios.tcsetattr(0, termios.TCSADRAIN, self._modes)
        sys.stdout.write(OWN_SCREEN)
        sys.stdout.flush()

    def _stop(self) -> None:
        """As Ctrl-Z asks for; returns once we are to go on."""
        self._give_back()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)
        self._take()

    @property
    def width(self) -> int:
        """The letters of a line, now."""
        return shutil.get_terminal_size().columns

    def show(self, name: str, keys: str, lines: list[str], *, more: str) -> None:
        """Show these lines below a title: the name, the time, and what `keys` there are.

        They are cut to the size that the terminal has now; `more` says where one sees those for which there is no room.
        """
        width, height = shutil.get_terminal_size()
        if len(lines) > height - 1:
            lines = [*lines[: height - 2], f"... {len(lines) - height + 2} more lines; {more} shows them"]
        title = f"{name}  {time.strftime('%H:%M:%S')}  {keys}"[:width]
        shown = [f"{BOLD}{title}{PLAIN}", *(line[:width] for line in lines[: height - 1])]
        text = "".join(f"{line}\x1b[K\r\n" for line in shown)
        sys.stdout.write(HOME + text.removesuffix("\r\n") + REST)
        sys.stdout.flush()

    async def until_quit(self) -> None:
        """Return once q is pressed, or the terminal has gone, or somebody wants this process to end."""
        with heeding(signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP) as signals:
            async with anyio.create_task_group() as tasks:

                async def until_signal() -> None:
                    while await anext(signals) == signal.SIGTSTP:
                        self._stop()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(until_signal)
                keyboard = Watch(0)
                while True:
                    await keyboard.ready()
                    key = os.read(0, 1)
                    if key in (b"q", b"Q", b"\x04", b""):
                        break
                    if key in self._keys:
                        self._keys[key]()
                tasks.cancel_scope.cancel()
