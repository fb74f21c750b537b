"""Places on S3 and on the disk: which text can be one, which two are the same, and what is said where one fails."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from airflow_bedrock.evaluation.answer_store import Answers, Store
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.storage import Storage
from airflow_bedrock.uris import file_uri, lies_in, same


@pytest.fixture
def s3() -> Iterator[Any]:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="key")
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()
    client.close()


PLACES = """
s3://bucket
s3://my-bucket.eu/a b/c.jsonl
s3://b/run=2026-01-01T00:00:00+00:00/
file:///data/x
file://localhost/x
file:/x
/data/x
data/x.jsonl
./a:b
"""
NO_PLACES = """
None
s3:/typo/ev
s3:
s3://
s3:///key
S3://bucket/key
s3://a b/key
https://x/ev
gs://bucket/key
file:
file://host/x
"""


@pytest.mark.parametrize("uri", PLACES.split("\n")[1:-1])
def test_places(uri: str) -> None:
    """What names a file or a folder on S3 or on the disk is taken as it is."""
    assert file_uri(uri) == uri


@pytest.mark.parametrize(
    "uri", [*NO_PLACES.split("\n")[1:-1], "", " ", " s3://bucket/key", "s3://bucket/key\n", None, 7, Path("x")]
)
def test_an_invalid_location_is_refused(uri: Any) -> None:
    """Anything else is refused, with what to write instead."""
    with pytest.raises(ValueError, match="must be s3://bucket/key, file:///path, or a path on the local disk"):
        file_uri(uri)


def test_same_and_lies_in(tmp_path: Path) -> None:
    """A local place has many names, one on S3 a single one; a name that only begins alike is another place."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert same(f"{tmp_path}/link/x", f"file://{tmp_path}/./x")
    assert not same(f"{tmp_path}/loop", str(tmp_path))
    assert same("s3://b/x", "s3://b/x")
    assert not same("s3://b/x", "s3://b/./x")
    assert lies_in("s3://b/src", "s3://b/src/")
    assert lies_in(f"{tmp_path}/link/a", str(tmp_path))
    assert not lies_in("s3://b/src-out", "s3://b/src/")


@pytest.mark.parametrize("uri", ["s3://bucket/listed.jsonl", "/nowhere/listed.jsonl"])
def test_a_listed_file_that_is_gone_is_worth_another_try(s3: Any, tmp_path: Path, uri: str) -> None:
    """It lists what is there then; a file that a person names does not come back by itself."""
    client, stub = s3
    for listed in (True, False):
        if uri.startswith("s3:"):
            stub.add_client_error("head_object", "404", http_status_code=404)
        with pytest.raises(BedrockError, match="was deleted" if listed else "it does not exist") as caught:
            Storage(lambda: client).fetch(uri, tmp_path / "copy", listed=listed)
        assert isinstance(caught.value, BedrockFatalError) is not listed


def test_a_missing_bucket_is_named(s3: Any, tmp_path: Path) -> None:
    """Before a write and at one, the error says that it is the bucket which does not exist."""
    client, stub = s3
    (tmp_path / "x").write_bytes(b"x")
    stub.add_client_error("head_bucket", "404", http_status_code=404)
    with pytest.raises(BedrockFatalError, match="Could not write to s3://gone/x: there is no bucket gone"):
        Storage(lambda: client).check_folder("s3://gone/x")
    stub.add_client_error("head_object", "404", http_status_code=404)
    stub.add_client_error("put_object", "NoSuchBucket", http_status_code=404)
    with pytest.raises(BedrockFatalError, match="Could not write s3://gone/x: there is no bucket gone"):
        Storage(lambda: client).write(tmp_path / "x", "s3://gone/x")


def test_a_bucket_that_may_not_be_read(s3: Any) -> None:
    """A role may write objects without seeing their bucket; a fault of S3 is worth another try."""
    client, stub = s3
    stub.add_client_error("head_bucket", "403", http_status_code=403)
    Storage(lambda: client).check_folder("s3://bucket/x")
    stub.add_client_error("head_bucket", "503", http_status_code=503)
    with pytest.raises(BedrockError) as caught:
        Storage(lambda: client).check_folder("s3://bucket/x")
    assert not isinstance(caught.value, BedrockFatalError)


def test_a_write_says_whether_the_content_is_new(s3: Any, tmp_path: Path) -> None:
    """An object that is there already, by its digest and its size, stays as it is."""
    client, stub = s3
    storage, file = Storage(lambda: client), tmp_path / "x"
    file.write_bytes(b"content")
    stub.add_client_error("head_object", "404", http_status_code=404)
    stub.add_response("put_object", {})
    assert storage.write(file, "s3://bucket/x") is True
    digest = hashlib.sha256(b"content").hexdigest()
    for size, new in ((7, False), (8, True)):
        stub.add_response("head_object", {"Metadata": {"sha256": digest}, "ContentLength": size})
        if new:
            stub.add_response("put_object", {})
        assert storage.write(file, "s3://bucket/x") is new


def test_a_write_that_cannot_see_what_is_there_is_an_error(s3: Any, tmp_path: Path) -> None:
    """Only an object that does not exist, or may not be read, is written without a comparison."""
    client, stub = s3
    (tmp_path / "x").write_bytes(b"x")
    stub.add_client_error("head_object", "503", http_status_code=503)
    with pytest.raises(BedrockError, match=r"Could not write s3://bucket/x: .*\(503\)"):
        Storage(lambda: client).write(tmp_path / "x", "s3://bucket/x")


def test_a_local_file_with_another_content_has_another_etag(tmp_path: Path) -> None:
    """As an object on S3 has."""
    storage, etags = Storage(lambda: pytest.fail("no S3")), set()
    for content in (b"x", b"y", b"x"):
        (tmp_path / "image.png").write_bytes(content)
        etags.add(storage.etag(str(tmp_path / "image.png")))
    assert len(etags - {""}) == 2


def test_an_etag_that_cannot_be_read_is_an_error(s3: Any) -> None:
    """It names the object and what was done to it."""
    client, stub = s3
    stub.add_client_error("head_object", "404", http_status_code=404)
    with pytest.raises(BedrockFatalError, match=r"Could not read s3://bucket/image\.png: it does not exist"):
        Storage(lambda: client).etag("s3://bucket/image.png")


def test_what_is_in_the_way_on_the_disk(tmp_path: Path) -> None:
    """A folder that can be made is good, and is not made; a file in its place is an error for good."""
    storage = Storage(lambda: pytest.fail("no S3"))
    storage.check_folder(str(tmp_path / "a/b"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(BedrockFatalError, match="is a file"):
        storage.check_folder(str(tmp_path / "a/b"))
    with pytest.raises(BedrockFatalError, match=r"Could not write .*/a is a file, not a folder"):
        storage.write(tmp_path / "a", str(tmp_path / "a/b"))
    with pytest.raises(BedrockFatalError, match="Could not read"), storage.read(str(tmp_path)):
        pass


def test_an_object_that_goes_between_the_list_and_the_read(s3: Any, tmp_path: Path) -> None:
    """Expired answers that another worker has deleted are skipped; without access they are an error."""
    client, stub = s3
    answers = Answers(tmp_path / "answers")
    folder = f"dev/{hashlib.sha256(b'model').hexdigest()[:32]}/expires=2999-01-01"
    listed = {"Contents": [{"Key": f"kept/{folder}/gone.jsonl.gz"}], "IsTruncated": False}
    store = Store(Storage(lambda: client).folder("s3://bucket/kept"), "dev", 90)
    stub.add_response("list_objects_v2", listed)
    stub.add_client_error("head_object", "404", http_status_code=404)
    store.fetch("model", answers)
    answers.batches.clear()
    stub.add_response("list_objects_v2", listed)
    stub.add_client_error("head_object", "403", http_status_code=403)
    with pytest.raises(BedrockFatalError, match=r"Could not read s3://bucket/kept/dev/.*gone\.jsonl\.gz"):
        store.fetch("model", answers)
    answers.close()
