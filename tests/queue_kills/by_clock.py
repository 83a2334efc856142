"""Runs a module by a wall clock that can be set: ``python -m tests.queue_kills.by_clock CLOCK MODULE ...``.

The file CLOCK says how many seconds it is off. Nothing of chanlink was imported before that.
"""

import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    _, clock, module, *_ = sys.argv
    real, file = time.time, Path(clock)
    time.time = lambda: real() + int(file.read_text())
    del sys.argv[:2]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
