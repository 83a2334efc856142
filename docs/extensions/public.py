"""What is public: the names of the package and of those rooms that users import, each thing by one name."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import chanlink

PACKAGE = Path(chanlink.__file__).parent
ROOMS = sorted(init.parent.name for init in PACKAGE.glob("*/__init__.py") if "__all__" in init.read_text())
FACES = ("chanlink", *(f"chanlink.{room}" for room in ROOMS if room != "command"))
"""What has a list of its names. The first one comes first: what it has from another one goes by the name in it."""
OPTIONAL = tuple(
    f"chanlink.observing.{file.stem}"
    for file in sorted((PACKAGE / "observing").glob("*.py"))
    if file.stem in ("opentelemetry", "prometheus")
)
"""Modules that users import by themselves, since each needs an extra."""


def public() -> dict[str, Any]:
    """Each public thing by its name; only the first of two."""
    found: dict[str, Any] = {}
    for name in (*FACES, *OPTIONAL):
        module = importlib.import_module(name)
        for inner in module.__all__ if name in FACES else defined_in(module):
            thing = getattr(module, inner)
            if inner != "__version__" and not any(thing is other for other in found.values()):
                found[f"{name}.{inner}"] = thing
    return found


def defined_in(module: ModuleType) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == module.__name__
        if not name.startswith(("_", "need_"))
    ]
