"""What each extra is for, as a program that needs it: without the extra, the last line of its errors names that."""

SSH = """
import subprocess, chanlink
subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", "locked"], check=True)
chanlink.Identity.load("locked", "secret")
"""

TYPED = """
import chanlink
chanlink.pipe(item_type=list[int])
"""

TLS = """
import anyio, chanlink
me = chanlink.Identity.generate()
async def main():
    what = {"identity": me, "trust": chanlink.Trust.of(me.public_key), "security": chanlink.nacl_tls}
    async with chanlink.listen("tcp://127.0.0.1:0", services={}, **what):
        pass
anyio.run(main)
"""

PROXY = """
import socket, anyio, chanlink
me = chanlink.Identity.generate()
async def main():
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()  # and it says nothing
        way = {"identity": me, "peer": me.public_key, "proxy": f"http://127.0.0.1:{proxy.getsockname()[1]}"}
        try:
            async with chanlink.connect("tcp://server.example", timeout=0.5, **way):
                pass
        except chanlink.SessionError:
            pass
anyio.run(main)
"""

LOOP = """
import os, subprocess, sys
os.environ["CHANLINK_EVENT_LOOP"] = "{}"
asked = subprocess.run(["chanlink", "ping", "unix:/nowhere/socket"], capture_output=True, text=True)
*_, last = asked.stderr.splitlines()
if "No such file" not in last:
    sys.exit(last)
"""

USES = {
    "ssh": SSH,
    "typed": TYPED,
    "tls": TLS,
    "proxy": PROXY,
    "postgres": "from chanlink.patterns.jobs.postgres.store import PostgresStore; PostgresStore('')",
    "etcd": "from chanlink.directory.etcd.store import EtcdStore; EtcdStore('http://127.0.0.1:2379')",
    "ws": "import chanlink.transport.websockets_library as library; library.say_if_slow()",
    "trio": LOOP.format("trio"),
    "uvloop": LOOP.format("uvloop"),
    "otel": "import chanlink.observing.opentelemetry as telemetry; telemetry.Traces()",
    "prometheus": "import chanlink.observing.prometheus as prometheus; assert prometheus.Metrics().text()",
}
"""By extra."""

PYTEST = """
import pathlib, subprocess, sys
pathlib.Path("test_it.py").write_text('''
import pytest

@pytest.mark.anyio
async def test_it(chanlink_pair):
    client, server = chanlink_pair
    assert client.peer.key != server.peer.key
''')
run = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_it.py"], capture_output=True, text=True)
assert run.returncode == 0 and "passed" in run.stdout, run
"""

UNASKED = {"pytest": PYTEST}
"""By extra: what uses chanlink, and so nothing of chanlink can say that it is missing."""

PARTS = {"cli": ["ssh", "uvloop"], "all": [*USES, *UNASKED]}
"""Extras that consist of others."""

PROGRAMS = {extra: [program] for extra, program in {**USES, **UNASKED}.items()}
PROGRAMS |= {extra: [program for part in parts for program in PROGRAMS[part]] for extra, parts in PARTS.items()}
"""What has to run where an extra is installed, and no other one."""

IMPORTS = """
import importlib, pkgutil, chanlink
for module in pkgutil.walk_packages(chanlink.__path__, "chanlink."):
    if not module.name.endswith(".__main__"):
        try:
            importlib.import_module(module.name)
        except chanlink.ConfigError as exc:
            print(exc)
"""
"""Import all there is, and print what is missing."""
