"""Pick, for the Dockerfile, the pins of constraints.txt that an image still lacks.

Reads constraints.txt from standard input and writes a constraints file for ``pip install --constraint``: a line
``name==version`` for each package that is not installed beside the running interpreter. A package that is installed
gets no pin, so pip leaves it alone as long as it fits. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import distributions


def canonical(name: str) -> str:
    """Return a package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def missing_pins(constraints: Iterable[str], installed: Collection[str]) -> Iterator[str]:
    """Yield each pin of a hashed constraints file whose package is not installed, without its hashes.

    :param constraints: the lines of constraints.txt; continuation lines, which hold the hashes, begin with a blank.
    :param installed: canonical names of the packages that are there.
    """
    for line in constraints:
        pin = line.rstrip("\\ \n")
        if pin and not line.startswith((" ", "#")) and canonical(pin.split("==")[0]) not in installed:
            yield pin


if __name__ == "__main__":
    here = {canonical(distribution.name) for distribution in distributions()}
    sys.stdout.writelines(f"{pin}\n" for pin in missing_pins(sys.stdin, here))
