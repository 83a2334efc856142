"""What the two sides of a copy say to each other, and how that is checked."""

from examples.rexec.copy import messages as copying


def test_the_service_has_the_name_that_trust_files_say() -> None:
    assert copying.SERVICE == "copy"
