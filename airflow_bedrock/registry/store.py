"""Store each register as an S3 object. A write fails if the object has changed since it was read (If-Match)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.json_store import ConflictError, JsonStore
from airflow_bedrock.registry.register import Register

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["ConflictError", "RegisterStore"]


class RegisterStore(JsonStore[Register]):
    """Reads and writes the registers below one S3 prefix; see :class:`~airflow_bedrock.json_store.JsonStore`."""

    def __init__(self, uri: str, s3: Callable[[], S3Client], kms_key_id: str | None = None) -> None:
        super().__init__(Register, "register", "registry_uri", uri, s3, kms_key_id)

    def read(self, name: str) -> tuple[Register, str | None]:
        """Return the line's register and its ETag; for a new line, an empty register and None.

        :raises BedrockFatalError: it cannot be read, this version does not understand it, or it is another line's.
        """
        register, etag = super().read(name)
        if register is None:
            return Register(name=name), None
        if register.name != name:
            raise BedrockFatalError(
                f"{self._uri(name)} is the register of {register.name}: it was copied or renamed by hand. Nothing was "
                "changed. Delete the copy; a promotion creates the new line's register."
            )
        return register, etag

    def write(self, register: Register, etag: str | None) -> str:
        """Write the register if it has not changed since it was read, and return its new ETag.

        :param etag: what :meth:`read` or the last ``write`` returned.
        :raises ConflictError: it has changed.
        """
        return self.put(register.name, register, etag)
