"""``rexec attach``."""

from tests.rexec.servers import Server, assert_one_line, serves

server = serves()


def test_it_prints_both_outputs_and_ends_as_the_command_does(server: Server) -> None:
    script = "echo out; echo err >&2; kill -9 $$"
    assert server.run("sh", "-c", script, options=["--detach", "--name", "mine"]).returncode == 0
    for _ in range(2):
        done = server.call("attach", "mine")
        assert (done.returncode, done.stdout, done.stderr) == (137, b"out\n", b"err\n")


def test_one_that_is_not_there_is_one_line(server: Server) -> None:
    assert_one_line(server.call("attach", "none"), "there is no detached command of this name")
