"""What a policy says about copies."""

import os
from pathlib import Path

import pytest

import chanlink
from examples.rexec.copy import rules
from examples.rexec.copy.rules import may_copy
from examples.rexec.policy.policy import Policy, Rule
from tests.rexec.servers import until
from tests.vouched import vouched


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule("free", ("*",)), None),
        (Rule("some", ("*",), commands=(("ls",),)), "the rule some of the server's policy does not allow"),
        (Rule("some", ("*",), commands=(("ls",),), copy=True), None),
        (Rule("none", ("*",), copy=False), "does not allow to copy"),
        (Rule("others", ("bob",)), "names this key"),
        (Rule("users", ("*",), users=("nobody",)), "" if os.geteuid() else "is for other users"),
    ],
)
def test_what_a_rule_says_about_copies(rule: Rule, reason: str | None) -> None:
    said = may_copy(Policy([rule]))(chanlink.Peer(None, "alice", ""), True, 1)
    assert (said is None) == (not reason)
    assert (reason or "") in (said or "")


def test_the_trust_file_is_not_read_for_each_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand keys take 10 ms, in which the server does nothing else; what is taken away is, a moment later."""
    identity = chanlink.Identity.generate("alice")
    peer = chanlink.Peer(identity.public_key, "alice", "")
    (file := tmp_path / "trust").write_text(f"{identity.public_key}\n")
    loads = []
    load = chanlink.Trust.load
    monkeypatch.setattr(rules, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(chanlink.Trust, "load", lambda path: (loads.append(path), load(path))[1])
    refusal = may_copy(None, trust=str(file))
    for _ in range(1_000):
        assert refusal(peer, True, 1) is None
    assert len(loads) < 100
    file.write_text(f'services="copy" {identity.public_key}\n')
    until(lambda: refusal(peer, True, 1) is not None)
    file.write_text("nonsense\n")
    seen = len(loads)
    until(lambda: refusal(peer, True, 1) is not None and len(loads) > seen)


@pytest.mark.parametrize(
    ("lines", "may"),
    [
        (['issuer="example",principals="alice"'], True),
        (['issuer="example",principals="alice",services="rexec,copy"'], True),
        (['issuer="example",principals="alice",services="copy"'], False),
        (['issuer="other",principals="alice"'], False),
        (['issuer="other",principals="alice"', 'issuer="example",principals="bob",services="copy"'], False),
    ],
)
def test_without_a_root_whom_an_authority_vouches_for_needs_its_line_to_run_commands(
    lines: list[str], may: bool, tmp_path: Path
) -> None:
    ca = chanlink.Identity.generate("ca").public_key
    (file := tmp_path / "trust").write_text("".join(f"cert-authority,{line} {ca}\n" for line in lines))
    assert (may_copy(None, trust=str(file))(vouched(), True, 1) is None) == may
