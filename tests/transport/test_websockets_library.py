"""The library is an extra: without it, and without its part in C, that is said in one line."""

import importlib
import logging
import sys

import pytest

pytest.importorskip("websockets")

from chanlink import ConfigError
from chanlink.transport import websockets_library


def test_without_it_there_is_a_line_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, websockets_library.__name__)
    monkeypatch.setitem(sys.modules, "websockets.protocol", None)
    with pytest.raises(ConfigError, match=r"pip install 'chanlink\[ws\]'"):
        importlib.import_module(websockets_library.__name__)


def test_a_part_in_c_that_is_missing_is_said_and_one_that_is_there_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pytest.importorskip("websockets.speedups")
    websockets_library.say_if_slow()
    assert not caplog.records
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    websockets_library.say_if_slow()
    (record,) = caplog.records
    assert "no part in C" in record.getMessage()
