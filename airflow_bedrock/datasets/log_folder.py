"""Read a folder of model invocation logs as one file: thousands of small objects, most of them gzipped.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html
"""

from __future__ import annotations

import gzip
import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from airflow_bedrock.datasets.errors import DatasetError

_AT_ONCE = 8  # number of parallel requests


class Joined(NamedTuple):
    """Files one after the other.

    :param begins: the number of the first line of each file, from 1.
    """

    name: str
    files: Sequence[str]
    begins: Sequence[int]

    def place(self, line: int) -> tuple[str, int]:
        """Return the file of a line, and the line's number in it."""
        which = bisect_right(self.begins, line) - 1
        return self.files[which], line - self.begins[which] + 1


def join_files(name: str, uris: Sequence[str], fetch: Callable[[str, Path], Path], target: Path) -> Joined:
    """Write the decompressed content of the files to one file.

    :param name: the name of all of them.
    :param fetch: returns the local file of a URI, or a copy that it writes to the given path.
    :raises DatasetError: there is no file, or one cannot be decompressed.
    """
    if not uris:
        raise DatasetError(f"there is no file under {name}")
    begins, line = [], 1
    with target.open("wb") as out, ThreadPoolExecutor(_AT_ONCE) as pool:
        for begin in range(0, len(uris), _AT_ONCE):
            batch = uris[begin : begin + _AT_ONCE]
            copies = [target.with_name(f"{target.name}-{number}") for number in range(len(batch))]
            for uri, copy, file in zip(batch, copies, pool.map(fetch, batch, copies), strict=True):
                begins.append(line)
                line += _append(uri, file, out)
                copy.unlink(missing_ok=True)
    return Joined(name, list(uris), begins)


def _append(uri: str, file: Path, out: BinaryIO) -> int:
    """Return the number of lines; a missing last line end is added."""
    lines, last = 0, b"\n"
    try:
        with gzip.open(file) if uri.endswith(".gz") else file.open("rb") as content:
            while chunk := content.read(1 << 20):
                out.write(chunk)
                lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{uri} cannot be decompressed: {type(error).__name__}") from error
    if last != b"\n":
        out.write(b"\n")
        lines += 1
    return lines
