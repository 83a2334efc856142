"""What takes the place of Noise: what it is asked for, and what it does not go with."""

import pytest

import chanlink
from chanlink import ConfigError, Identity, Limits
from chanlink.security.keys.certificate import Role
from chanlink.security.security import Side, check_security, side_of
from chanlink.security.statics import Statics


def test_without_it_there_is_noise() -> None:
    assert side_of(None, Statics(Identity.generate(), Role.CLIENT), Limits()) is None


def test_with_it_there_is_a_side_of_it() -> None:
    statics = Statics(Identity.generate(), Role.CLIENT)
    assert isinstance(side_of(chanlink.nacl_tls, statics, Limits()), Side)


@pytest.mark.parametrize("name", ["psk", "resume", "early"])
def test_what_needs_noise_does_not_go_with_it(name: str) -> None:
    check_security(None, **{name: 1})
    check_security(chanlink.nacl_tls, **{name: 0})
    with pytest.raises(ConfigError, match=f"security and {name} don't go together"):
        check_security(chanlink.nacl_tls, **{name: 1})


def test_nothing_else_will_do() -> None:
    with pytest.raises(TypeError, match="security"):
        check_security("tls")
