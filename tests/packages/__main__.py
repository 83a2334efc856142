"""``python -m tests.packages FOLDER``: the folder gets the sdists and wheels of all our distributions."""

import argparse
import shutil
from pathlib import Path

from .environments import DISTRIBUTIONS, build


def main() -> None:
    parser = argparse.ArgumentParser("tests.packages")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    for source in DISTRIBUTIONS.values():
        build(source, folder)
    print(*sorted(path for path in folder.iterdir() if path.name != ".gitignore"), sep="\n")


if __name__ == "__main__":
    main()
