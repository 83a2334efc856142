"""Public test vectors, and points that no key may be."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from chanlink.security.noise.x25519 import FIELD_PRIME as P

VECTORS = Path(os.environ.get("CHANLINK_VECTORS", Path(__file__).parents[3] / "shared" / "vectors"))

LOW_ORDER = [
    0,
    1,
    P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]
NOT_CANONICAL = [P, P + 1, 2**255 - 1, 2**255 + 9, 2**256 - 1]


def load(name: str) -> Any:
    path = VECTORS / name
    if not path.is_file():
        pytest.skip(f"no test vectors: {path} is missing (CHANLINK_VECTORS names their folder)")
    return json.loads(path.read_text())


def encoded(number: int) -> bytes:
    return number.to_bytes(32, "little")


def flip(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
