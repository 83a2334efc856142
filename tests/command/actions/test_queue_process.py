"""A whole queue as a process: which store its options name."""

import argparse
from pathlib import Path

import pytest

from chanlink.command.actions.queue_process import services_of, store_of
from chanlink.command.problems import Usage
from chanlink.patterns import PostgresStore, SQLiteStore, work_queue


def options(**more: object) -> argparse.Namespace:
    return argparse.Namespace(**{"store": None, "queue": None, "fsync": None, **more})


def test_the_store_is_memory_a_file_or_a_database(tmp_path: Path) -> None:
    assert store_of(options()) is None
    assert isinstance(store_of(options(store=str(tmp_path / "jobs.db"))), SQLiteStore)
    for uri in ("postgresql://db/app", "postgres:///app"):
        assert isinstance(store_of(options(store=uri, queue="pages")), PostgresStore)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"queue": "pages"}, "give --store postgresql://"),
        ({"queue": "pages", "store": "jobs.db"}, "give --store postgresql://"),
        ({"fsync": False}, "give --store FILE"),
        ({"fsync": True, "store": "postgresql://db/app"}, "give --store FILE"),
        ({"store": "mysql://me:secret@db/app"}, r"not mysql://\.\.\.$"),
        ({"store": "sqlite:///jobs.db"}, r"not sqlite://\.\.\.$"),
    ],
)
def test_options_of_another_store_are_wrong(given: dict[str, object], says: str) -> None:
    with pytest.raises(Usage, match=says):
        store_of(options(**given))


@pytest.mark.anyio
async def test_a_trust_file_can_tell_those_who_may_do_a_part() -> None:
    async with work_queue() as queue:
        services = services_of(queue, "pages")
        assert services.pop("pages") is queue
        assert list(services) == ["pages.submit", "pages.work", "pages.look"]
