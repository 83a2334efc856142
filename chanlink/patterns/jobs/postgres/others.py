"""Which of the other stores are dead, from their beats. No SQL, no clock."""

from collections.abc import Mapping


class Others:
    """What one store has seen of the others.

    A store is dead when its beat has not changed for `lease` seconds in which it was looked at. Whoever did not look
    for half of that (the process was stopped, the machine slept, the database was away) does not know what happened
    meanwhile, and begins to count anew.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[str, tuple[int, float]] = {}
        """The beat, and since when it is that."""
        self._looked = -lease

    def look(self, beats: Mapping[str, int], now: float) -> dict[str, int]:
        """Those that are dead, with their last beat. `now` is in seconds, of a clock that is never set."""
        if now - self._looked > self._lease / 2:
            self._seen = {}
        self._looked = now
        self._seen = {store: self._since(store, beat, now) for store, beat in beats.items()}
        return {store: beat for store, (beat, since) in self._seen.items() if now - since > self._lease}

    def _since(self, store: str, beat: int, now: float) -> tuple[int, float]:
        seen = self._seen.get(store)
        return seen if seen is not None and seen[0] == beat else (beat, now)
