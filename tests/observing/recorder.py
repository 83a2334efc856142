"""An instrument that keeps all that it is told."""

from typing import Any

from chanlink.observing import Instrument

HOOKS = sorted(name for name in vars(Instrument) if not name.startswith("_"))


class Recorder(Instrument):
    """Keeps the names of hooks with what they were given, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def names(self) -> list[str]:
        return [name for name, _ in self.told]

    def of(self, *hooks: str) -> list[tuple[Any, ...]]:
        """What these were given."""
        return [args for name, args in self.told if name in hooks]

    def all_ended(self, kind: str) -> bool:
        """Whether for each that has begun, and for nothing else, one end was told."""
        opened = [args[0] for args in self.of(f"{kind}_opened", f"{kind}_begun")]
        ended = [args[0] for args in self.of(f"{kind}_ended")]
        return len(set(map(id, opened))) == len(opened) and sorted(map(id, opened)) == sorted(map(id, ended))


def _keeping(hook: str) -> Any:
    def keep(self: Recorder, *args: Any) -> None:
        self.told.append((hook, args))

    return keep


for _hook in HOOKS:
    setattr(Recorder, _hook, _keeping(_hook))
