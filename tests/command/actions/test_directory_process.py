"""The store of a directory that is a process."""

from argparse import Namespace
from pathlib import Path

import pytest

from chanlink import ConfigError
from chanlink.command.actions.directory_process import _what_keeps, store_of
from chanlink.command.problems import Usage
from chanlink.directory import EtcdStore, SQLiteStore


def test_a_file_or_nothing_keeps_names(tmp_path: Path) -> None:
    assert store_of(Namespace(store=None)) is None
    assert isinstance(store_of(Namespace(store=str(tmp_path / "names.db"))), SQLiteStore)


def test_another_kind_of_store_is_wrong_usage_and_no_password_is_repeated() -> None:
    with pytest.raises(Usage, match="--store takes a file") as caught:
        store_of(Namespace(store="mysql://user:secret@host/x"))
    assert "secret" not in str(caught.value)


def test_servers_of_etcd_keep_names_below_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setenv("CHANLINK_ETCD_PASSWORD", "secret")
    for text, endpoints, entries, login in [
        ("etcd://a:2379", ["http://a:2379"], "/chanlink/directory/entries/", None),
        ("etcds://a:1,b:2/names/of", ["https://a:1", "https://b:2"], "/names/of/entries/", None),
        ("etcd://me@a:1/", ["http://a:1"], "/chanlink/directory/entries/", ("me", "secret")),
        ("etcd://me:p%40ss@a:1", ["http://a:1"], "/chanlink/directory/entries/", ("me", "p@ss")),
    ]:
        store = store_of(Namespace(store=text))
        assert isinstance(store, EtcdStore)
        assert store._gateway._endpoints == endpoints
        assert store._layout.entries == entries
        assert store._gateway._login == (login and {"name": login[0], "password": login[1]})
        assert "secret" not in _what_keeps(text)
        assert "p%40ss" not in _what_keeps(text)
    with pytest.raises(ConfigError, match="is no server of etcd"):
        store_of(Namespace(store="etcd://"))
