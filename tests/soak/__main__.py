"""`make soak`: 100,000 channels on asyncio and on trio, and what is left of them."""

import argparse
import logging
import time
import warnings

import anyio

from .rounds import soak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--channels", type=int, default=100_000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=ResourceWarning, message="a .* was forgotten")
    logging.getLogger("chanlink").addHandler(logging.NullHandler())  # cut sessions are no news
    for backend in ("asyncio", "trio"):
        began = time.monotonic()
        figures = anyio.run(soak, arguments.channels, backend=backend)
        early, late = figures.memory
        print(
            f"{backend}: {figures.channels:,} channels in {time.monotonic() - began:.0f} s; "
            f"memory {early:,} bytes after a fifth, {late:,} at the end ({late - early:+,}); "
            "all tables empty, no task left",
            flush=True,
        )


if __name__ == "__main__":
    main()
