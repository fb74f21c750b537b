"""The checksums of S3 objects. The standard library lacks two of them, CRC32C and CRC64NVME; numpy computes those.

A CRC is linear: the CRC of a long text follows from the CRCs of its pieces, through an operator that appends zero
bytes. So pieces of equal length are processed side by side, and then joined in pairs.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

_Words = NDArray[np.uint64]

_PIECE = 256
"""Size of the pieces that are processed side by side, in bytes."""

_BLOCK = 4096 * _PIECE
"""Size of a block, in bytes: all its pieces are processed at once, and it fits into the processor's cache."""


class Crc:
    """A reflected cyclic redundancy check whose initial and final values are all ones.

    :param polynomial: bit-reversed.
    :param width: in bits, at most 64.
    """

    def __init__(self, polynomial: int, width: int) -> None:
        self._polynomial = polynomial
        self._ones = (1 << width) - 1

    def __call__(self, content: bytes) -> int:
        """Return the checksum of the bytes."""
        crc, place = self._ones, 0
        while len(content) - place >= _PIECE:
            length = min(_BLOCK, (len(content) - place) // _PIECE * _PIECE)
            crc = self._pieces(crc, np.frombuffer(content, "<u8", length // 8, place).reshape(-1, _PIECE // 8))
            place += length
        return self._bytes(crc, content[place:]) ^ self._ones

    def _bytes(self, crc: int, content: bytes) -> int:
        for byte in content:
            crc = crc >> 8 ^ self._table[(crc ^ byte) & 0xFF]
        return crc

    def _pieces(self, crc: int, pieces: _Words) -> int:
        # Zeros before the first piece change nothing, and make the number of pieces a power of two.
        joins = (len(pieces) - 1).bit_length()
        first = (1 << joins) - len(pieces)
        crcs = np.zeros(1 << joins, np.uint64)
        crcs[first] = crc
        for word in pieces.T:
            crcs[first:] ^= word
            crcs = _apply(self._word, crcs)
        for operator in self._zeros[:joins]:
            crcs = _apply(operator, crcs[::2]) ^ crcs[1::2]
        return int(crcs[0])

    @cached_property
    def _table(self) -> list[int]:
        def shift(crc: int, _: int) -> int:
            return crc >> 1 ^ (self._polynomial if crc & 1 else 0)

        return [reduce(shift, range(8), byte) for byte in range(256)]

    @cached_property
    def _word(self) -> _Words:
        """Return the operator of eight zero bytes."""
        return _operator(np.array([self._bytes(1 << bit, bytes(8)) for bit in range(64)], np.uint64))

    @cached_property
    def _zeros(self) -> list[_Words]:
        """Return the operators of one piece of zeros, of two, of four, and so on up to a block."""
        found = [self._word]
        while 8 << len(found) <= _BLOCK:
            images = _apply(found[-1], np.array([1 << bit for bit in range(64)], np.uint64))
            found.append(_operator(_apply(found[-1], images)))
        return found[(_PIECE // 8).bit_length() - 1 :]


def _operator(images: _Words) -> _Words:
    """Return a linear map of 64 bits as a table for each byte, given the images of the single bits."""
    tables = np.zeros((8, 256), np.uint64)
    for bit, image in enumerate(images):
        tables[bit // 8, np.arange(256) >> bit % 8 & 1 == 1] ^= image
    return tables


def _apply(operator: _Words, values: _Words) -> _Words:
    columns = np.ascontiguousarray(values, "<u8").view(np.uint8).reshape(-1, 8)
    result: _Words = operator[0][columns[:, 0]]
    for table, column in zip(operator[1:], columns.T[1:], strict=True):
        result ^= table[column]
    return result


crc32c = Crc(0x82F63B78, 32)
crc64nvme = Crc(0x9A6C9329AC4BC9B5, 64)

_DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda content: zlib.crc32(content).to_bytes(4, "big"),
    "CRC32C": lambda content: crc32c(content).to_bytes(4, "big"),
    "CRC64NVME": lambda content: crc64nvme(content).to_bytes(8, "big"),
    "SHA1": lambda content: hashlib.sha1(content, usedforsecurity=False).digest(),
    "SHA256": lambda content: hashlib.sha256(content).digest(),
    "SHA512": lambda content: hashlib.sha512(content).digest(),
    "MD5": lambda content: hashlib.md5(content, usedforsecurity=False).digest(),
}

ALGORITHMS = frozenset(_DIGESTS)


def digest(algorithm: str, content: bytes) -> bytes:
    """Return the checksum of the bytes, by one of the :data:`ALGORITHMS`."""
    return _DIGESTS[algorithm](content)


def checksum(algorithm: str, content: bytes) -> str:
    """Return the checksum as S3 writes it, in base64."""
    return base64.b64encode(digest(algorithm, content)).decode()
