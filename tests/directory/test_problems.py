"""What a directory answers to what it does not do."""

from chanlink.calls.failures import Failures
from chanlink.directory.problems import PROBLEMS, OlderSerial


def test_each_problem_travels_with_a_code_of_its_own() -> None:
    failures = Failures(PROBLEMS)
    for problem in PROBLEMS:
        detail = 7 if problem is OlderSerial else None
        found = failures.failure_of(problem("why", detail))
        assert found is not None
        again = failures.error_of(*found)
        assert (type(again), again.text, again.detail) == (problem, "why", detail)
