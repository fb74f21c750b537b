"""Checksums against published values, and against the standard library's CRC-32."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.checksums import Crc, checksum, crc32c, crc64nvme

crc32 = Crc(0xEDB88320, 32)


def test_published_values() -> None:
    """The check values of the catalogue of CRC algorithms, and those of RFC 3720 for 32 zeros and 32 ones."""
    assert crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def test_as_s3_writes_it() -> None:
    """Base64 of the big-endian number."""
    assert checksum("CRC64NVME", b"123456789") == "rosUhgp5mIg="


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=300))
def test_any_length(length: int, seed: bytes) -> None:
    """The same as the standard library's, whatever the length."""
    content = (seed * (length // len(seed) + 1))[:length]
    assert crc32(content) == zlib.crc32(content)


@pytest.mark.parametrize("length", [1 << 20, (1 << 20) + 255, (1 << 20) + 256, 3_000_001])
def test_more_than_one_block(length: int) -> None:
    """The same for content that is gone through block by block."""
    content = bytes(range(251)) * (length // 251 + 1)
    assert crc32(content[:length]) == zlib.crc32(content[:length])
