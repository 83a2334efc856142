"""Two muxes and the ends of their streams: no sessions, no tasks, no event loop."""

from typing import Any

from chanlink.channels.handle import Handle
from chanlink.limits import Limits
from chanlink.session.ends.ends import Ends
from chanlink.wire.stream import Stream
from tests.wire.muxes import Pair, Side


class Both:
    """The near side opens channels; `turn` carries what both have to say."""

    def __init__(self, limits: Limits | None = None, far_limits: Limits | None = None) -> None:
        self.pair = Pair(limits, far_limits)
        self.turn = self.pair.turn
        self.started: list[Handle] = []
        self.near = self._ends(self.pair.client, limits)
        self.far = self._ends(self.pair.server, far_limits or limits)

    def _ends(self, side: Side, limits: Limits | None) -> Ends:
        return Ends(
            side.mux,
            limits or Limits(),
            side.mux.peer_limits,
            wrap=lambda value: None,
            start=self.started.append,
            before_wait=lambda: False,
        )

    def channel(self, **options: Any) -> tuple[Any, Any]:
        """A sender of the near side, and the receiver of the far one."""
        ours, theirs = self.pair.channel(**options)
        return self.near.adopt(ours), self.far.adopt(theirs)

    def byte_stream(self, **options: Any) -> tuple[Any, Any]:
        ours, theirs = self.pair.open("bytes", **options)
        return self.near.adopt(ours), self.far.adopt(theirs)

    def streams(self) -> list[Stream]:
        """Those of the near side."""
        return list(self.pair.client.mux.streams.values())

    def close(self, *ends: Any) -> None:
        for end in ends:
            end.close()
        self.turn()
        self.pair.check_empty()
