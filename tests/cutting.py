"""A proxy of real sockets that cuts the connections which go through it. For sessions that outlive theirs."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 65_536


def _connect(address: str) -> socket.socket:
    """To an address as chanlink writes it."""
    scheme, _, place = address.partition(":")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(place)
        return connection
    host, _, port = place.removeprefix("//").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)))


class _Pair:
    """Both sides of a connection, closed by the second of the two threads that pass on between them.

    The number of one that is closed before may be that of another one when a thread reads that was just about to.
    """

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._sides = near, far
        self._lock = threading.Lock()
        self._threads = 2

    def cut(self) -> None:
        for side in self._sides:
            with suppress(OSError):  # it has ended
                side.shutdown(socket.SHUT_RDWR)

    def left(self) -> None:
        """One of the threads has come to its end."""
        with self._lock:
            self._threads -= 1
            if not self._threads:
                for side in self._sides:
                    side.close()


class CuttingProxy:
    """Passes connections on to ``target``, and cuts those that it has when somebody calls `cut`.

    With ``every`` it does so by itself, each time when so many bytes have gone either way, ``times`` times.
    """

    def __init__(self, target: str, *, every: int = 0, times: int = 0) -> None:
        self.target = target
        self.cuts = 0
        """How often it has cut one that carried something."""
        self.down = False
        """Whether whoever connects finds nobody."""
        self._every, self._times = every, times
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._passed = 0
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                near, _ = self._listening.accept()
                try:
                    far = None if self.down else _connect(self.target)
                except OSError:
                    far = None
                if far is None:
                    near.close()
                    continue
                pair = _Pair(near, far)
                with self._lock:
                    if self.down:  # since it was asked
                        pair.cut()
                    else:
                        self._pairs.append(pair)
                self._start(self._pass_on, pair, near, far)
                self._start(self._pass_on, pair, far, near)

    def _pass_on(self, pair: "_Pair", source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(PIECE):
                sink.sendall(data)
                self._has_passed(len(data))
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # a reset is passed on, too
            pair.cut()
        finally:
            pair.left()

    def _has_passed(self, count: int) -> None:
        with self._lock:
            self._passed += count
            if 0 < self._every <= self._passed and self.cuts < self._times:
                self._cut()

    def cut(self) -> None:
        """Cut those that there are, in the middle of whatever they carry."""
        with self._lock:
            self._cut()

    def _cut(self) -> None:
        self.cuts += bool(self._pairs)
        self._passed = 0
        for pair in self._pairs:
            pair.cut()
        self._pairs.clear()

    def begin_again(self) -> None:
        """Count anew, both bytes and cuts."""
        with self._lock:
            self._passed = self.cuts = 0

    def go_down(self) -> None:
        """Cut them, and let nobody in until `go_up`."""
        self.down = True
        self.cut()

    def go_up(self) -> None:
        self.down = False

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.go_down()  # also what is just being accepted
        for thread in self._threads:
            thread.join()


@contextmanager
def cutting(target: str, *, every: int = 0, times: int = 0) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(target, every=every, times=times)
    try:
        yield proxy
    finally:
        proxy.close()
