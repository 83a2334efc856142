"""A short campaign: three are killed, and every answer is right."""

from pathlib import Path

import anyio
import pytest

from tests.command.calls import make_keys
from tests.etcd import new_cluster

from .campaign import Campaign

pytest.importorskip("httpx")


@pytest.mark.slow
def test_no_answer_is_wrong_and_none_is_lost_that_is_asked_for_once_more(tmp_path: Path) -> None:
    with new_cluster(3) as cluster:
        outcome = anyio.run(Campaign(make_keys(tmp_path), cluster, 1).run, 3, 3, 0.5)
    assert outcome.lookups
    assert not outcome.wrong
    assert not outcome.lost
