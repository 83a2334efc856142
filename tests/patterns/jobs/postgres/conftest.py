"""Each test has a queue of its own in the database of the process that runs it."""

import uuid

import pytest


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"
