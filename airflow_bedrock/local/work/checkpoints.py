"""Models trained elsewhere: checks their files in S3 for completeness.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-import-model.html
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from airflow_bedrock.decoding import decoder
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.records import DataError
from airflow_bedrock.local.work.s3 import unreadable
from airflow_bedrock.uris import bucket_and_key

ARCHITECTURES = (
    "GPTBigCodeForCausalLM",
    "GptOssForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "MllamaForConditionalGeneration",
    "Qwen2ForCausalLM",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "T5ForConditionalGeneration",
)
"""The architectures that AWS imports, as ``config.json`` names them."""

_MOST_HEADER = 100_000_000
"""Maximum size of a safetensors header, in bytes; its own library has the same limit."""


class _Config(msgspec.Struct):
    architectures: list[str] = []
    model_type: str = ""


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int]


_CONFIG = decoder(_Config)
_INDEX = decoder(_Index)
_HEADER = decoder(dict[str, msgspec.Raw])
_TENSOR = decoder(_Tensor)
_ANY = decoder(dict[str, Any])


@dataclass(frozen=True)
class Architecture:
    """The architecture of a model, according to its files.

    :param name: such as ``llama``.
    :param instruct: whether it has a template for conversations.
    """

    name: str
    instruct: bool


class Checkpoint:
    """The files of a model below a prefix.

    :param role_arn: the role that reads them; None without a role.
    :param for_arn: the resource that the role is assumed for.
    :raises DataError: there are no files below it, or they cannot be listed or read.
    """

    def __init__(self, bedrock: Bedrock, uri: str, role_arn: str | None, for_arn: str) -> None:
        self._s3 = bedrock.client("s3")
        self._uri = uri.rstrip("/")
        self._bucket, folder = bucket_and_key(self._uri + "/")
        role = Role(bedrock, role_arn, for_arn) if role_arn else None
        if role and not (role.may_list(uri) and role.may_read(f"{self._uri}/config.json")):
            raise unreadable(uri)
        try:
            pages = list(self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder))
        except ClientError as error:
            raise unreadable(uri) from error
        found = [one for page in pages for one in page.get("Contents", [])]
        self._sizes = {one["Key"].removeprefix(folder): int(one["Size"]) for one in found if one["Size"]}
        self._etags = {one["Key"].removeprefix(folder): one["ETag"] for one in found}
        if not self._sizes:
            raise DataError(f"No model files were found at {uri}")

    @property
    def fingerprint(self) -> str:
        """A digest of the files, in place of the weights, which cannot be read here."""
        return hashlib.sha256(repr(sorted(self._etags.items())).encode()).hexdigest()

    def check(self) -> Architecture:
        """Check that the files are a complete model of an architecture that AWS imports, and return the architecture.

        :raises DataError: they are not.
        """
        config = self._json("config.json", _CONFIG)
        if not set(config.architectures) & set(ARCHITECTURES):
            found = ", ".join(config.architectures) or "none"
            raise DataError(
                f"Amazon Bedrock does not support the architecture ({found}) of the model that you are importing. "
                f"It supports {', '.join(ARCHITECTURES)}"
            )
        if not {"tokenizer.json", "tokenizer.model"} & set(self._sizes):
            raise DataError(f"Neither tokenizer.json nor tokenizer.model was found at {self._uri}")
        tokenizer = self._json("tokenizer_config.json", _ANY)
        for name in self._weights():
            self._check_weights(name)
        instruct = bool(tokenizer.get("chat_template")) or "chat_template.jinja" in self._sizes
        return Architecture(config.model_type or config.architectures[0], instruct)

    def _weights(self) -> list[str]:
        """Return the names of the files with weights; if there are several, an index lists them."""
        if "model.safetensors.index.json" in self._sizes:
            return sorted(set(self._json("model.safetensors.index.json", _INDEX).weight_map.values()))
        found = [name for name in self._sizes if name.endswith(".safetensors")]
        if not found:
            raise DataError(f"No weights in .safetensors files were found at {self._uri}")
        return found

    def _check_weights(self, name: str) -> None:
        """Check that a file with weights is as long as its header says, so that incomplete uploads are found."""
        self._check_there(name)
        try:
            length = int.from_bytes(self._read(name, 0, 7), "little")
            if length > _MOST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = _HEADER.decode(self._read(name, 8, 7 + length))
            ends = [_TENSOR.decode(one).data_offsets[1] for key, one in header.items() if key != "__metadata__"]
        except (ValueError, ClientError) as error:
            raise DataError(f"{self._uri}/{name} is not a safetensors file: {error}") from error
        if (expected := 8 + length + max(ends, default=0)) != self._sizes[name]:
            raise DataError(f"{self._uri}/{name} has {self._sizes[name]} bytes, but its header says {expected}")

    def _json(self, name: str, reader: msgspec.json.Decoder[Any]) -> Any:
        self._check_there(name)
        try:
            return reader.decode(self._read(name, 0, self._sizes[name] - 1))
        except msgspec.MsgspecError as error:
            raise DataError(f"{self._uri}/{name} cannot be read: {error}") from error

    def _check_there(self, name: str) -> None:
        if name not in self._sizes:
            raise DataError(f"{name} was not found at {self._uri}")

    def _read(self, name: str, first: int, last: int) -> bytes:
        key = bucket_and_key(f"{self._uri}/{name}")[1]
        answer = self._s3.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={first}-{last}")
        with answer["Body"] as body:
            content: bytes = body.read()
        return content
