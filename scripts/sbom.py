"""Write the package's bill of materials (CycloneDX): what pip installs beside it, in the versions that are tested."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.stack import PROJECT


def closure(name: str, extras: frozenset[str] = frozenset(), seen: dict[str, str] | None = None) -> dict[str, str]:
    """Return what a package requires, and what that requires in turn, by name: the versions that are installed here."""
    seen = {} if seen is None else seen
    for text in distribution(name).requires or ():
        required = Requirement(text)
        if required.marker and not any(required.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        key = f"{canonicalize_name(required.name)}[{','.join(sorted(required.extras))}]"
        if key in seen:
            continue
        try:
            seen[key] = distribution(required.name).version
        except PackageNotFoundError:
            continue  # for another platform
        closure(required.name, frozenset(required.extras | {""}), seen)
    return seen


def main() -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="the file to write")
    arguments = parser.parse_args()
    pins = sorted({f"{name.partition('[')[0]}=={version}" for name, version in closure("airflow-bedrock").items()})
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON"]
    command += ["--pyproject", str(PROJECT / "pyproject.toml"), "--output-file", str(arguments.file), "-"]
    return subprocess.run(command, input="\n".join(pins), text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
