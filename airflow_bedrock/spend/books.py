"""Store the ledger as one object on S3, with conditional writes, and archive it by month."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.json_store import ConflictError, JsonStore
from airflow_bedrock.spend.ledger import Ledger, closed, dropped, of_month

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NAME = "ledger"
_SECONDS = 300.0  # maximum time that a writer waits for the others
_PAUSE = 2.0  # seconds between two attempts, at most


class Books:
    """Reads and changes the ledger under one S3 prefix.

    :param uri: the prefix, e.g. ``s3://bucket/spend``.
    :param s3: returns the S3 client; called on first use.
    :param kms_key_id: the KMS key that encrypts it; None leaves it to the bucket.
    """

    def __init__(self, uri: str, s3: Callable[[], S3Client], kms_key_id: str | None = None) -> None:
        if not uri:
            raise BedrockFatalError(
                "A budget needs a ledger, and neither [bedrock] ledger_uri nor [bedrock] registry_uri is set. Set "
                "ledger_uri in Airflow's configuration (AIRFLOW__BEDROCK__LEDGER_URI; in a command, --ledger) to an S3 "
                "prefix that the tasks' role can read and write, e.g. s3://my-bucket/spend. Nothing was created and "
                "nothing was spent."
            )
        self._store = JsonStore(Ledger, "ledger", "ledger_uri", uri, s3, kms_key_id)

    def read(self) -> Ledger:
        """Return the current ledger; empty before the first entry.

        :raises BedrockError: it could not be read.
        """
        return self._store.read(_NAME)[0] or Ledger()

    def month(self, month: str) -> Ledger:
        """Return the entries of a month, including those in its archive."""
        archived, ledger = self._store.read(month)[0] or Ledger(), self.read()
        return Ledger({**archived.entries, **{one.key: one for one in of_month(ledger, month)}})

    def change(self, change: Callable[[Ledger], Ledger], name: str = _NAME) -> Ledger:
        """Change the ledger, and return it; changes by other writers are kept.

        :param change: returns the next ledger; called again if another writer was faster. If it raises, nothing is
            changed.
        :raises BedrockError: the ledger could not be read or written, or others kept changing it for minutes.
        """
        deadline, pause = time.monotonic() + _SECONDS, 0.05
        while True:
            found, etag = self._store.read(name)
            ledger = found or Ledger()
            changed = change(ledger)
            if changed == ledger:
                return ledger
            try:
                self._store.put(name, changed, etag)
            except ConflictError as error:
                if time.monotonic() > deadline:
                    raise BedrockError(f"{error} Other tasks kept changing it for {_SECONDS:.0f} s.") from error
                time.sleep(random.uniform(0, pause))  # noqa: S311  # so that writers do not meet again
                pause = min(2 * pause, _PAUSE)
            else:
                return changed

    def archive(self, ledger: Ledger) -> None:
        """Move entries that were settled long ago to the archive of their month. A kill in between leaves them in both.

        :param ledger: as last read or written; if nothing in it is old, nothing is read or written.
        """
        old = closed(ledger, datetime.now(UTC))
        for month in sorted({one.month for one in old}):
            moved = {one.key: one for one in old if one.month == month}
            self.change(lambda archive, moved=moved: Ledger({**archive.entries, **moved}), month)  # type: ignore[misc]  # moved is bound
        if old:
            self.change(partial(dropped, entries=old))
