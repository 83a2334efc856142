"""Sessions that were handed over, for tests."""

from typing import Any

from chanlink.daemon.journal import OUTGOING, Row


def row(id_: bytes = bytes(16), way: str = OUTGOING, **more: Any) -> Row:
    made = Row(
        id=id_.hex(),
        way=way,
        uid=1001,
        user="alice",
        service="ping",
        host="web1",
        address="",
        key=bytes(32).hex(),
        name="web1",
        issuer="",
        principal="",
        credential="",
        expiry=0,
        since=1_800_000_000.0,
    )
    return made._replace(**more)
