"""Find near duplicates with MinHash: texts that share most of their word sequences.

A text's signature stands for the set of its shingles: three words each, or four characters in scripts that do not
separate words. Texts that agree in one of sixteen bands of their signatures are compared: 95 % of the texts that share
0.8 of their shingles. They are near duplicates if at least the requested share of their signatures agrees.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from operator import eq
from pathlib import Path

from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.repeats import BlockEntries, Parts, Place, groups

_PERMUTATIONS, _BANDS, _SEED = 128, 16, 7
_ROWS = 4 * _PERMUTATIONS // _BANDS  # size of a band, in bytes
_SIZE = 4 * _PERMUTATIONS
_MOST_COMPARED = 20  # texts of a band that a text is compared with: templated texts would take too long


class Signatures:
    """The signatures of a block's texts.

    :param folder: where the signatures of all blocks are.
    :raises DatasetError: rensa is not installed.
    """

    def __init__(self, block: int, lines: int, folder: Path) -> None:
        try:
            from rensa import RMinHash  # type: ignore[import-untyped]  # it has no stubs
        except ImportError as error:
            raise DatasetError("Near duplicates need rensa. Install 'airflow-bedrock[prep]'") from error
        self._minhash = RMinHash
        self._file = _file(folder, block)
        self._signatures = bytearray(lines * _SIZE)
        self._bands = BlockEntries(block)

    def add(self, line: int, text: bytes) -> None:
        """Sign a text in its normalised form."""
        minhash = self._minhash(num_perm=_PERMUTATIONS, seed=_SEED)
        minhash.update(_shingles(text))
        signature = array("I", minhash.digest()).tobytes()
        self._signatures[line * _SIZE : (line + 1) * _SIZE] = signature
        for begin in range(0, _SIZE, _ROWS):
            band = signature[begin : begin + _ROWS]
            self._bands.add(line, blake2b(band, digest_size=16, salt=begin.to_bytes(2)).digest(), b"")

    def put(self) -> dict[int, bytes]:
        """Write the signatures, and return the entries of their bands."""
        self._file.write_bytes(self._signatures)
        return self._bands.parts()


def near(bands: Parts, signatures: Path, threshold: float) -> Iterator[tuple[Place, Place]]:
    """Yield each near duplicate, and the earlier text.

    :param signatures: the folder of the signatures.
    :param threshold: the share of the signatures that must agree, 0 to 1.
    """
    for group in groups(bands):
        kept: list[tuple[Place, array[int]]] = []
        for entry in group:
            signature = _signature(signatures, entry.place)
            agree = ((place, sum(map(eq, signature, other)) / _PERMUTATIONS) for place, other in kept)
            found = next((place for place, share in agree if share >= threshold), None)
            if found is not None:
                yield entry.place, found
            elif len(kept) < _MOST_COMPARED:
                kept.append((entry.place, signature))


def _file(folder: Path, block: int) -> Path:
    return folder / f"{block}.near"


def _signature(folder: Path, place: Place) -> array[int]:
    with _file(folder, place.block).open("rb") as file:
        file.seek(place.line * _SIZE)
        return array("I", file.read(_SIZE))


def _shingles(text: bytes) -> list[bytes]:
    words = text.split()
    if len(words) * 12 < len(text):  # a language without spaces between words
        characters = text.decode("utf-8", "surrogatepass")
        places = range(max(1, len(characters) - 3))
        return [characters[begin : begin + 4].encode("utf-8", "surrogatepass") for begin in places]
    if len(words) < 3:
        return words or [b""]
    return [b" ".join(words[begin : begin + 3]) for begin in range(len(words) - 2)]
