"""The cases again, each by a whole session over TCP: what an authority says reaches the service, or nobody does."""

from pathlib import Path

import pytest

import chanlink
from chanlink import Identity, Trust, UntrustedPeer
from tests.security.keys.programs import needs_ssh_keygen

from .cases import by_name
from .making import Authorities, make

pytestmark = [needs_ssh_keygen, pytest.mark.anyio, pytest.mark.slow]

SERVER = Identity.generate("server")
ADMITTED = {
    "good": "alice@org",
    "of two principals": "bob@org",
    "from a network": "alice@org",
    "with a new extension": "alice@org",
    "with a forced command": "alice@org",
    "whose neighbour is revoked": "alice@org",
}
REFUSED = [
    "expired",
    "of a host",
    "of another principal",
    "of a stranger's authority",
    "from elsewhere",
    "with a new critical option",
    "that wants a PIN",
    "of an ECDSA authority",
    "revoked by its number",
    "revoked by its key id",
    "revoked by its key",
    "revoked with its authority",
]


async def whoami(requests: chanlink.Receiver[chanlink.Sender[object]], peer: chanlink.Peer) -> None:
    credential = None if peer.issued is None else peer.issued.credential
    async with await requests.receive() as reply:
        await reply.send([peer.name, credential and credential.force_command])


async def ask(case: str, folder: Path) -> object:
    """Who the server says the client is."""
    authorities, key = Authorities(folder), folder / "key"
    authorities.revoked.touch()
    make(by_name(case), authorities, key)
    trust = Trust.load(authorities.trust())
    service = chanlink.service(whoami, enforces=("force-command",))
    async with (
        chanlink.listen(
            "tcp://127.0.0.1:0",
            identity=SERVER,
            trust=trust,
            services={"whoami": service},
            revoked=authorities.revoked,
        ) as listener,
        chanlink.connect(listener.addresses[0], identity=Identity.load(key), peer=SERVER.public_key) as session,
        await session.open("whoami") as requests,
    ):
        reply, replies = chanlink.pipe()
        await requests.send(reply)
        return await replies.receive()


@pytest.mark.parametrize("case", ADMITTED)
async def test_who_is_vouched_for_is_let_in_by_the_name_of_the_authority(case: str, tmp_path: Path) -> None:
    command = "echo forced" if case == "with a forced command" else None
    assert await ask(case, tmp_path) == [ADMITTED[case], command]


@pytest.mark.parametrize("case", REFUSED)
async def test_whose_credential_does_not_count_is_told_that_and_no_more(case: str, tmp_path: Path) -> None:
    with pytest.raises(UntrustedPeer) as caught:
        await ask(case, tmp_path)
    assert caught.value.remote
    told = str(caught.value).replace(caught.value.advice, "")  # which is what this side knows by itself
    assert "credential" not in told
    assert "revoked" not in told
