"""No test asks a clock whether it has passed, and what looks for such tests finds them."""

import pytest

from tests.patience import PATIENCE, lines_run, processor_time, takes_less

from .clocks import verdicts


@pytest.mark.parametrize(
    "source",
    [
        "began = time.monotonic()\nassert time.monotonic() - began < 1",
        "began = anyio.current_time()\ncall()\nassert 0.1 <= anyio.current_time() - began",
        "began = perf_counter()\ntook = perf_counter() - began\nif took > 0.1: slow.append(1)",
        "best = min(best, time.thread_time() - began)\nassert best < other",
        "deadline = time.monotonic() + 20\nwhile time.monotonic() < deadline: pass",
        "with anyio.fail_after(5): pass",
        "subprocess.run(words, timeout=30)",
        "with move_on_after(1) as scope: pass\nassert not scope.cancelled_caught",
    ],
)
def test_a_verdict_of_a_clock_is_found(source: str) -> None:
    assert [line for line, _ in verdicts(source)] == [source.count("\n") + 1]


@pytest.mark.parametrize(
    "source",
    [
        "with anyio.fail_after(PATIENCE): pass",
        "deadline = time.monotonic() + PATIENCE\nwhile time.monotonic() < deadline: pass",
        "with move_on_after(0.01) as scope: pass\nassert scope.cancelled_caught",
        "with pytest.raises(TimeoutError), anyio.fail_after(0.05): pass",
        "certify(int(time.time()))\nchanlink.connect(address, timeout=0.1)",
        "began = time.monotonic()\nprint(time.monotonic() - began)",
        "subprocess.run(words, timeout=PATIENCE)",
        "assert lines_run(call) < 100",
    ],
)
def test_what_a_busy_machine_does_not_change_may_stay(source: str) -> None:
    assert list(verdicts(source)) == []


def test_work_is_counted_in_lines_of_python() -> None:
    def work(times: int) -> None:
        for _ in range(times):
            pass

    few, many = lines_run(lambda: work(10)), lines_run(lambda: work(1_000))
    assert (few, many) == (lines_run(lambda: work(10)), few + 2 * 990)
    assert processor_time(lambda: work(1)) < processor_time(lambda: work(100_000))
    assert takes_less(lambda: work(1), PATIENCE)
    assert not takes_less(lambda: work(1), 0)
