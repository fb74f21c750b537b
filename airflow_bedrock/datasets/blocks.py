"""Cut files into blocks of whole lines, and process them in order, in as many processes as there are CPUs.

A block is an offset and a length; the process that works on it also reads it. Processes are spawned, since the caller
may have threads. If child processes are not allowed, or the file is small, the caller does the work itself.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

BLOCK = 4 << 20  # bytes
LONGEST_LINE = 64 << 20  # bytes; a longer line is cut off, and is not a record
WORTH_A_POOL = 32 << 20  # bytes; starting a process takes a tenth of a second

_BOM = b"\xef\xbb\xbf"
_PACKED = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""The compression, by the first bytes of a file."""

Named = TypeVar("Named")
Result = TypeVar("Result")


class Block(NamedTuple):
    """Some whole lines of a file.

    :param number: the block's number among the blocks of all files.
    """

    number: int
    path: str
    begin: int
    end: int

    def read(self) -> bytes:
        """Return the bytes."""
        with Path(self.path).open("rb") as file:
            file.seek(self.begin)
            return file.read(self.end - self.begin)


def lines_of(content: bytes) -> list[bytes]:
    """Return the lines in some bytes, without line ends; text after the last line end is a line too."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def without_bom(content: bytes) -> bytes:
    """Return the bytes without the byte order mark that Excel and PowerShell put before them."""
    return content.removeprefix(_BOM)


def packing_of(path: Path) -> str:
    """Return how a file is compressed, by its content: ``gzip``, ``zstd``, or empty."""
    with path.open("rb") as file:
        begin = file.read(4)
    return next((packing for magic, packing in _PACKED.items() if begin.startswith(magic)), "")


def blocks(files: Iterable[tuple[Named, Path]]) -> Iterator[tuple[Named, Block]]:
    """Cut files into blocks of about four megabytes, numbered consecutively; yield each with its file's tag."""
    number = 0
    for of, path in files:
        size, begin = path.stat().st_size, 0
        with path.open("rb") as file:
            while begin < size:
                file.seek(min(begin + BLOCK, size) - 1)
                read = file.readline(LONGEST_LINE)
                yield of, Block(number, str(path), begin, file.tell())
                while read and not read.endswith(b"\n"):  # the rest of a line that is cut off
                    read = file.readline(LONGEST_LINE)
                number, begin = number + 1, file.tell()


def processes(size: int) -> int:
    """Return the number of processes that this many bytes justify."""
    import multiprocessing  # here, since a DAG file does not need it

    if size < WORTH_A_POOL or multiprocessing.current_process().daemon:
        return 1
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


def mapped(
    work: Callable[[Block], Result], files: Sequence[tuple[Named, Path]], *, alone: bool = False
) -> Iterator[tuple[Named, Result]]:
    """Yield the results of the work on the blocks of files, in order, each with its file's tag.

    If the files are large, the work is done in one process per CPU, on little more than one block each in advance.

    :param work: a function that other processes can import, bound to an object that they can import too.
    :param alone: whether other processes cannot import it, so that the caller does the work itself.
    :raises OSError: one of the processes was killed.
    """
    workers = 1 if alone else processes(sum(path.stat().st_size for _, path in files))
    if workers < 2:
        yield from (_worked(work, of, block) for of, block in blocks(files))
        return
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
    from multiprocessing import get_context

    pending: deque[Future[tuple[Named, Result]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for of, block in blocks(files):
                pending.append(pool.submit(_worked, work, of, block))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenExecutor as error:
            raise OSError(
                "a process that read the data was killed, perhaps because memory ran out. Try again"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _worked(work: Callable[[Block], Result], of: Named, block: Block) -> tuple[Named, Result]:
    return of, work(block)
