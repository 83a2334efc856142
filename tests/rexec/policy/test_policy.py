"""Rules: what they allow, and what they are found by."""

import os
from typing import Any

import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import StartError, detach, run
from examples.rexec.policy.policy import Policy, Rule
from tests.rexec.sessions import sessions


@pytest.mark.anyio
class TestRules:
    """In force: the server here, commands are real."""

    def ruled(self, **entries: Any) -> Policy:
        return Policy([Rule("test", ("*",), **entries)])

    async def refused(self, session: chanlink.Session, argv: list[str], *words: str, **settings: Any) -> None:
        with pytest.raises(StartError) as caught:
            await run(session, argv, **settings)
        assert caught.value.code == messages.REFUSED
        for word in ("the rule test", *words):
            assert word in caught.value.text
        assert "\n" not in caught.value.text

    async def test_only_the_commands_of_the_rule(self) -> None:
        policy = self.ruled(commands=(("echo", "-..."), ("sh", "-c", "exit 3")))
        async with sessions(policy=policy) as session:
            assert (await run(session, ["echo", "-n", "a"])).stdout == b"a"
            assert (await run(session, ["sh", "-c", "exit 3"])).status == 3
            await self.refused(session, ["sh", "-c", "exit 4"], "does not allow this command", "sh -c 'exit 4'")
            await self.refused(session, ["/bin/echo"], "/bin/echo")
            await self.refused(session, ["echo"], "the folder /tmp", directory="/tmp")
            await self.refused(session, ["echo"], "to set PATH", environment={"PATH": "/tmp"})
            await self.refused(session, ["echo"], "to set LD_PRELOAD", environment={"LANG": "C", "LD_PRELOAD": "x"})
            await self.refused(session, ["echo"], "the user root", user="root")

    @pytest.mark.parametrize("value", ["/dev/tape", ":/etc/shadow", "../../tmp/x", "Europe/../../../tmp/x"])
    @pytest.mark.parametrize("name", ["TZ", "LANG", "LC_ALL"])
    async def test_a_variable_is_harmless_only_if_it_names_no_file(self, name: str, value: str) -> None:
        async with sessions(policy=self.ruled(commands=(("sh", "-c", f"echo ${name}"),))) as session:
            argv = ["sh", "-c", f"echo ${name}"]
            await self.refused(session, argv, f"to set {name}", environment={name: value})
            for good in ("Europe/Berlin", "de_DE.UTF-8", "CET-1CEST"):
                assert (await run(session, argv, environment={name: good})).stdout.decode() == f"{good}\n"

    @pytest.mark.parametrize("restriction", [{"commands": (("test", "-t", "1"),)}, {"command": ("test", "-t", "1")}])
    async def test_a_terminal_has_to_be_allowed_where_commands_are_restricted(self, restriction: Any) -> None:
        """There a command like ``git log`` starts a pager, which starts whatever is typed."""
        argv, size = ["test", "-t", "1"], messages.Size(80, 24)
        async with sessions(policy=self.ruled(**restriction)) as session:
            assert (await run(session, argv)).status == 1
            await self.refused(session, argv, "allows no terminal", terminal=size)
        for policy in (self.ruled(**restriction, pty=True), self.ruled()):
            async with sessions(policy=policy) as session:
                assert (await run(session, argv, terminal=size)).status == 0

    async def test_a_forced_command_is_run_whatever_is_asked_for(self) -> None:
        policy = self.ruled(command=("sh", "-c", 'echo "$REXEC_ORIGINAL_COMMAND"; exit 7'))
        async with sessions(policy=policy) as session:
            done = await run(session, ["rm", "-rf", "/ home"])
            assert (done.status, done.stdout) == (7, b"rm -rf '/ home'\n")
            await self.refused(session, ["true"], "REXEC_ORIGINAL", environment={"REXEC_ORIGINAL_COMMAND": "x"})

    async def test_variables_folders_and_terminals(self) -> None:
        policy = self.ruled(
            environment=("APP_*",), variables={"APP_MODE": "safe"}, directories=("/usr/*",), directory="/", pty=False
        )
        async with sessions(policy=policy) as session:
            script = "echo $APP_NAME $APP_MODE $PWD"
            environment = {"APP_NAME": "a", "APP_MODE": "b"}
            assert (await run(session, ["sh", "-c", script], environment=environment)).stdout == b"a safe /\n"
            assert (await run(session, ["pwd"], directory="/usr/bin")).stdout == b"/usr/bin\n"
            await self.refused(session, ["pwd"], "HOME", environment={"HOME": "/"})
            await self.refused(session, ["pwd"], "/usr/bin/..", directory="/usr/bin/../..")
            await self.refused(session, ["pwd"], "/usr/..", directory="/usr/..")
            await self.refused(session, ["pwd"], "allows no terminal", terminal=messages.Size(80, 24))

    async def test_callers_may_lower_limits_but_not_raise_them(self) -> None:
        policy = self.ruled(limits={"files": 100, "time": 1})
        async with sessions(policy=policy) as session:
            assert (await run(session, ["sh", "-c", "ulimit -n"])).stdout == b"100\n"
            assert (await run(session, ["sh", "-c", "ulimit -n"], limits={"files": 50})).stdout == b"50\n"
            assert "time of 1 s" in (await run(session, ["sleep", "1000"])).note
            await self.refused(session, ["true"], "files is 100 count at most", limits={"files": 101})

    async def test_so_many_at_once_and_no_more(self) -> None:
        policy = self.ruled(at_once=2)
        async with sessions(policy=policy) as session:
            await detach(session, ["sleep", "1000"])
            await detach(session, ["sleep", "1000"])
            with pytest.raises(StartError) as caught:
                await run(session, ["true"])
            assert "allows 2 at once" in caught.value.text

    async def test_detaching_may_be_forbidden(self) -> None:
        async with sessions(policy=self.ruled(detach=False)) as session:
            with pytest.raises(StartError) as caught:
                await detach(session, ["true"])
            assert caught.value.code == messages.REFUSED

    async def test_a_key_that_no_rule_names_may_run_nothing(self) -> None:
        for policy in (Policy([]), Policy([Rule("other", ("SHA256:abc", "somebody"))])):
            async with sessions(policy=policy) as session:
                with pytest.raises(StartError) as caught:
                    await run(session, ["true"])
                assert (caught.value.code, "no rule" in caught.value.text) == (messages.REFUSED, True)

    def test_rules_are_found_by_name_key_and_fingerprint(self) -> None:
        key = chanlink.Identity.generate("alice").public_key
        peer = chanlink.Peer(key, "alice", "here")
        for name in ("alice", key.fingerprint, " ".join(str(key).split()[:2])):
            policy = Policy([Rule("other", ("bob",)), Rule("hers", (name,)), Rule("rest", ("*",))])
            assert policy.rule_for(peer).name == "hers"
            assert policy.rule_for(chanlink.Peer(None, "carol", "here")).name == "rest"

    @pytest.mark.parametrize("kind", ["fingerprint", "key", "everybody"])
    def test_a_comment_is_no_key(self, kind: str) -> None:
        """Whoever asks for his line in the trust file has written the comment in it."""
        boss, thief = (chanlink.Identity.generate(name).public_key for name in ("boss", "thief"))
        text = {"fingerprint": boss.fingerprint, "key": " ".join(str(boss).split()[:2]), "everybody": "*"}[kind]
        policy = Policy([Rule("all", (text,)), Rule("some", (thief.fingerprint,), commands=(("true",),))])
        peer = chanlink.Peer(thief, text, "here")
        if kind == "everybody":
            policy = Policy(policy.rules[::-1])
        assert policy.rule_for(peer).name == "some"
        with pytest.raises(StartError):
            Policy([Rule("all", (boss.fingerprint,))]).rule_for(chanlink.Peer(None, boss.fingerprint, "here"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="runs commands as another user")
    async def test_the_first_user_of_a_rule_is_the_default(self) -> None:
        policy = self.ruled(users=("daemon", "nobody"))
        async with sessions(policy=policy) as session:
            assert (await run(session, ["id", "-un"])).stdout == b"daemon\n"
            assert (await run(session, ["id", "-un"], user="nobody")).stdout == b"nobody\n"
            await self.refused(session, ["id"], "the user root", user="root")

    def test_copying_is_for_those_who_may_run_anything(self) -> None:
        assert Rule("a", ("*",)).allows_copying
        assert not Rule("a", ("*",), commands=(("ls",),)).allows_copying
        assert not Rule("a", ("*",), command=("ls",)).allows_copying
        assert Rule("a", ("*",), commands=(("ls",),), copy=True).allows_copying
