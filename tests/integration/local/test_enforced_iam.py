"""IAM that is enforced: who calls may do what policies allow, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock
from tests.integration.local import test_guard
from tests.integration.local.conftest import NOVA, Service

ACCOUNT = "123456789012"
BASE = f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"
CREATE = {"Effect": "Allow", "Action": "bedrock:CreateModelCustomizationJob", "Resource": "*"}

Statement = dict[str, Any]


@pytest.fixture(scope="module")
def enforcing() -> Iterator[Service]:
    with LocalBedrock(job_seconds=0.1, enforce_iam=True, bucket="enforced") as local:
        service = Service(local)
        yield service
        service.close()


class Person:
    """Clients of somebody's, by access key."""

    def __init__(self, local: LocalBedrock, arn: str, keys: dict[str, str]) -> None:
        session = boto3.session.Session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys.get("SessionToken"), region_name="us-east-1"
        )
        self.arn, self.key = arn, keys["AccessKeyId"]
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        self.bedrock: Any = session.client("bedrock", endpoint_url=local.endpoint_url, config=config)
        self.runtime: Any = session.client("bedrock-runtime", endpoint_url=local.endpoint_url, config=config)
        self.s3: Any = session.client("s3", endpoint_url=local.endpoint_url, config=config)
        others: Any = ("athena", "cloudwatch", "iam", "ram", "sqs")
        self.others: list[Any] = [
            session.client(name, endpoint_url=local.endpoint_url, config=config) for name in others
        ]

    def close(self) -> None:
        for client in (self.bedrock, self.runtime, self.s3, *self.others):
            client.close()


User = Callable[..., Person]


@pytest.fixture
def user(enforcing: Service) -> Iterator[User]:
    """Makes a user with these statements, and returns its clients."""
    iam = enforcing.local.client("iam")
    made: list[Person] = []

    def make(*statements: Statement) -> Person:
        name = enforcing.name("user")
        arn = iam.create_user(UserName=name, Path="/team/")["User"]["Arn"]
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
        made.append(Person(enforcing.local, arn, iam.create_access_key(UserName=name)["AccessKey"]))
        return made[-1]

    yield make
    for one in made:
        one.close()
    iam.close()


def document(*statements: Statement) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, resource: str | list[str] = "*", **more: Any) -> Statement:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


def message(call: Callable[..., object], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    told = caught.value.response
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert told["Error"]["Code"] in ("AccessDeniedException", "AccessDenied")
    return str(told["Error"]["Message"])


def test_what_no_policy_allows_is_refused(enforcing: Service, user: User) -> None:
    """A user without policies is refused in AWS's words, and the root is not."""
    nobody = user()
    assert message(nobody.bedrock.list_custom_models) == (
        f"User: {nobody.arn} is not authorized to perform: bedrock:ListCustomModels on resource: * "
        "because no identity-based policy allows the bedrock:ListCustomModels action"
    )
    assert message(nobody.s3.get_object, Bucket="enforced", Key="train.jsonl") == (
        f"User: {nobody.arn} is not authorized to perform: s3:GetObject on resource: "
        '"arn:aws:s3:::enforced/train.jsonl" because no identity-based policy allows the s3:GetObject action'
    )
    enforcing.bedrock.list_custom_models()
    assert user(allow("bedrock:List*")).bedrock.list_custom_models()["modelSummaries"] == []


@pytest.mark.parametrize("name", ["bedrock", "bedrock-runtime"])
def test_its_clients_do_not_send_the_users_api_key(
    enforcing: Service, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """They sign with the key of Local Bedrock: an API key would be refused here, and is not sent over HTTP at all."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-of-aws")
    client = enforcing.local.client(name)
    if name == "bedrock":
        assert client.list_model_customization_jobs()["modelCustomizationJobSummaries"] is not None
    else:
        messages = [{"role": "user", "content": [{"text": "Where?"}]}]
        assert client.converse(modelId="amazon.nova-micro-v1:0", messages=messages)["stopReason"] == "end_turn"


def test_s3_refuses_an_unsigned_request(enforcing: Service) -> None:
    """With its own error code; no bucket is public."""
    config = Config(signature_version=UNSIGNED, s3={"addressing_style": "path"})
    with closing(boto3.client("s3", endpoint_url=enforcing.local.endpoint_url, config=config)) as s3:
        assert message(s3.get_object, Bucket="enforced", Key="train.jsonl") == "Missing Authentication Token"


def test_role_has_to_be_passed(enforcing: Service, user: User) -> None:
    """CreateModelCustomizationJob needs iam:PassRole on the role, to Bedrock."""
    role = enforcing.local.role_arn
    passing = {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}
    request = enforcing.request()
    creator = user(CREATE)
    assert message(creator.bedrock.create_model_customization_job, **request) == (
        f"User: {creator.arn} is not authorized to perform: iam:PassRole on resource: {role} "
        "because no identity-based policy allows the iam:PassRole action"
    )
    for condition, resource in (
        ({"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}, role),
        (passing, f"arn:aws:iam::{ACCOUNT}:role/other"),
    ):
        someone = user(CREATE, allow("iam:PassRole", resource=resource, Condition=condition))
        assert f"not authorized to perform: iam:PassRole on resource: {role} because" in message(
            someone.bedrock.create_model_customization_job, **request
        )
    someone = user(CREATE, allow("iam:PassRole", resource=role, Condition=passing))
    arn = someone.bedrock.create_model_customization_job(**request)["jobArn"]
    assert enforcing.job(arn)["status"] == "Completed"


def test_resources_and_tags(enforcing: Service, user: User) -> None:
    """Policies are about base models, models by name or ARN, and tags, of the resource and of the request."""
    passing = allow("iam:PassRole")
    other = user(allow("bedrock:Create*", resource="arn:aws:bedrock:*::foundation-model/meta.*"), passing)
    assert f"on resource: {BASE} because" in message(
        other.bedrock.create_model_customization_job, **enforcing.request()
    )
    tagged = {"StringEquals": {"aws:RequestTag/team": "search"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    creator = user(allow("bedrock:Create*", resource=BASE, Condition=tagged), passing)
    team, cost = {"key": "team", "value": "search"}, {"key": "cost", "value": "1"}
    for tags in ([], [cost], [team, cost]):
        message(creator.bedrock.create_model_customization_job, **enforcing.request(jobTags=tags))
    request = enforcing.request(jobTags=[team], customModelTags=[team])
    job = enforcing.job(creator.bedrock.create_model_customization_job(**request)["jobArn"])
    model = enforcing.model()
    reader = user(allow("bedrock:Get*", Condition={"StringEquals": {"aws:ResourceTag/team": "search"}}))
    for identifier in (job["outputModelArn"], job["outputModelName"]):
        assert reader.bedrock.get_custom_model(modelIdentifier=identifier)["modelArn"] == job["outputModelArn"]
    assert f"on resource: {model}" in message(reader.bedrock.get_custom_model, modelIdentifier=model)
    assert reader.bedrock.get_model_customization_job(jobIdentifier=job["jobName"])["jobArn"] == job["jobArn"]


def test_explicit_deny_region_and_unknown_condition(enforcing: Service, user: User) -> None:
    """A Deny wins; another region is another request; a condition that nobody knows denies."""
    denied = user(allow("bedrock:*"), {"Effect": "Deny", "Action": "bedrock:InvokeModel", "Resource": "*"})
    assert message(denied.runtime.converse, modelId=NOVA, messages=[]) == (
        f"User: {denied.arn} is not authorized to perform: bedrock:InvokeModel on resource: {BASE} "
        "with an explicit deny in an identity-based policy"
    )
    denied.bedrock.list_custom_models()
    for condition, allowed in (
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, False),
        ({"StringLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/team/*"}}, True),
        ({"StringNotEquals": {"aws:NobodyKnows": "x"}}, False),
    ):
        someone = user(allow("bedrock:*", Condition=condition))
        if allowed:
            someone.bedrock.list_custom_models()
        else:
            message(someone.bedrock.list_custom_models)


def test_buckets_and_objects(enforcing: Service, user: User) -> None:
    """S3's actions are held to keys and prefixes, a copy to its source, a deletion of many to each."""
    someone = user(
        allow("s3:PutObject", "s3:DeleteObject", resource="arn:aws:s3:::enforced/own/*"),
        allow("s3:GetObject", resource="arn:aws:s3:::enforced/*.jsonl"),
        allow("s3:ListBucket", resource="arn:aws:s3:::enforced", Condition={"StringLike": {"s3:prefix": "own/*"}}),
    )
    s3, bucket = someone.s3, "enforced"
    s3.put_object(Bucket=bucket, Key="own/a.txt", Body=b"1")
    assert 's3:PutObject on resource: "arn:aws:s3:::enforced/b"' in message(s3.put_object, Bucket=bucket, Key="b")
    s3.copy_object(Bucket=bucket, Key="own/copy", CopySource=f"{bucket}/train.jsonl")
    assert "s3:GetObject" in message(s3.copy_object, Bucket=bucket, Key="own/c", CopySource=f"{bucket}/own/a.txt")
    assert s3.list_objects_v2(Bucket=bucket, Prefix="own/")["KeyCount"] == 2
    message(s3.list_objects_v2, Bucket=bucket)
    message(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "own/a.txt"}, {"Key": "train.jsonl"}]})
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "own/a.txt"}, {"Key": "own/copy"}]})
    with pytest.raises(ClientError, match="403"):
        s3.head_object(Bucket=bucket, Key="own/a.txt")


def test_athena_cloudwatch_ram_and_sqs(enforcing: Service, user: User) -> None:
    """On work groups, shares and queues, in each service's own protocol; anybody may call IAM."""
    own = f"arn:aws:{{}}:us-east-1:{ACCOUNT}:"
    inside = {"Bool": {"ram:RequestedAllowsExternalPrincipals": "false"}}
    named = {"StringLike": {"ram:ResourceShareName": "copy-*"}}
    someone = user(
        allow("sqs:CreateQueue", "sqs:SendMessage", resource=f"{own.format('sqs')}mine"),
        allow("athena:*", resource=f"{own.format('athena')}workgroup/primary"),
        allow("cloudwatch:PutMetricData"),
        allow("ram:CreateResourceShare", Condition=inside),
        allow("ram:DeleteResourceShare", Condition=named),
    )
    athena, cloudwatch, iam, ram, sqs = someone.others
    queue = sqs.create_queue(QueueName="mine")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    assert message(sqs.receive_message, QueueUrl=queue) == (
        f"User: {someone.arn} is not authorized to perform: sqs:ReceiveMessage on resource: {own.format('sqs')}mine "
        "because no identity-based policy allows the sqs:ReceiveMessage action"
    )
    assert "resource: *" in message(sqs.list_queues)
    stranger = Person(enforcing.local, "nobody", {"AccessKeyId": "AKIANOBODY", "SecretAccessKey": "x"})
    with closing(stranger), pytest.raises(ClientError, match="security token included in the request is invalid"):
        stranger.others[-1].receive_message(QueueUrl=queue)
    query = athena.start_query_execution(QueryString="SELECT 1")["QueryExecutionId"]
    athena.stop_query_execution(QueryExecutionId=query)
    assert "workgroup/else" in message(athena.start_query_execution, QueryString="SELECT 1", WorkGroup="else")
    cloudwatch.put_metric_data(Namespace="x", MetricData=[{"MetricName": "y", "Value": 1}])
    assert "cloudwatch:ListMetrics on resource: *" in message(cloudwatch.list_metrics)
    assert "ram:CreateResourceShare" in message(ram.create_resource_share, name="copy-1")
    shares = [
        ram.create_resource_share(name=name, allowExternalPrincipals=False)["resourceShare"]["resourceShareArn"]
        for name in ("copy-1", "other")
    ]
    ram.delete_resource_share(resourceShareArn=shares[0])
    assert shares[1] in message(ram.delete_resource_share, resourceShareArn=shares[1])
    iam.list_users()


def test_groups_managed_policies_and_assumed_roles(enforcing: Service, user: User) -> None:
    """A group's and a managed policy's statements count; a session has the role's, within its session policy."""
    iam, sts = enforcing.local.client("iam"), enforcing.local.client("sts")
    name = enforcing.name("readers")
    policy = iam.create_policy(PolicyName=name, PolicyDocument=document(allow("bedrock:List*")))["Policy"]["Arn"]
    member = user()
    iam.create_group(GroupName=name)
    iam.attach_group_policy(GroupName=name, PolicyArn=policy)
    iam.add_user_to_group(GroupName=name, UserName=member.arn.rpartition("/")[2])
    member.bedrock.list_custom_models()

    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    for session_policy, refusal in (
        ({}, None),
        ({"Policy": document(allow("s3:*"))}, "because no session policy allows the bedrock:ListCustomModels action"),
    ):
        assumed = sts.assume_role(RoleArn=role, RoleSessionName="airflow", **session_policy)
        session = Person(enforcing.local, assumed["AssumedRoleUser"]["Arn"], assumed["Credentials"])
        if refusal:
            assert message(session.bedrock.list_custom_models).endswith(refusal)
        else:
            session.bedrock.list_custom_models()
        assert f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/airflow is not" in message(
            session.bedrock.delete_custom_model, modelIdentifier="x"
        )
        session.close()
    iam.close()
    sts.close()


def test_a_role_of_another_account_has_its_policies(enforcing: Service) -> None:
    """Those in that account's IAM; before they are there, its session may do nothing."""
    theirs = "210987654321"
    with closing(enforcing.local.client("sts")) as sts:
        assumed = sts.assume_role(RoleArn=f"arn:aws:iam::{theirs}:role/copier", RoleSessionName="airflow")
    session = Person(enforcing.local, assumed["AssumedRoleUser"]["Arn"], assumed["Credentials"])
    assert session.arn.startswith(f"arn:aws:sts::{theirs}:")
    assert message(session.bedrock.list_custom_models)
    keys = assumed["Credentials"]
    of_theirs = boto3.session.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], "us-east-1")
    only_there = {"StringEquals": {"aws:ResourceAccount": theirs, "aws:PrincipalAccount": theirs}}
    with closing(of_theirs.client("iam", endpoint_url=enforcing.local.endpoint_url)) as iam:
        iam.create_role(RoleName="copier", AssumeRolePolicyDocument=document())
        granted = document(allow("bedrock:ListCustomModels", Condition=only_there))
        iam.put_role_policy(RoleName="copier", PolicyName="own", PolicyDocument=granted)
    assert session.bedrock.list_custom_models()["modelSummaries"] == []
    assert "no identity-based policy allows" in message(session.bedrock.list_imported_models)
    session.close()


def test_unknown_access_keys_are_refused(enforcing: Service, user: User) -> None:
    """An unknown key, an inactive one, and another's session token are refused before anything else."""
    iam, sts = enforcing.local.client("iam"), enforcing.local.client("sts")
    known = user(allow("bedrock:*", "s3:*"))
    name = known.arn.rpartition("/")[2]
    inactive = iam.create_access_key(UserName=name)["AccessKey"]
    iam.update_access_key(UserName=name, AccessKeyId=inactive["AccessKeyId"], Status="Inactive")
    session = sts.assume_role(RoleArn=enforcing.local.role_arn, RoleSessionName="airflow")["Credentials"]
    for keys in (
        {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x"},
        inactive,
        session | {"SessionToken": "another"},
    ):
        stranger = Person(enforcing.local, "", keys)
        with pytest.raises(ClientError, match=r"UnrecognizedClientException.*The security token included in the req"):
            stranger.bedrock.list_custom_models()
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            stranger.s3.list_buckets()
        stranger.close()
    iam.close()
    sts.close()


SIGNED = "AWS4-HMAC-SHA256 Credential=nobody/20261122/{}/aws4_request, SignedHeaders=host, Signature=0"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Amz-Target": "Nobody.GetObject"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Authorization": "AWS key:signature", "X-Amz-Target": "Nobody.GetObject"},
        {"Authorization": SIGNED.format("us-east-1/s3express")},
        {"Authorization": SIGNED.format("s3/nobody")},
        {"Host": "enforced.localhost", "X-Amz-Target": "Nobody.GetObject"},
    ],
    ids=str,
)
def test_s3_needs_an_authenticated_caller(enforcing: Service, headers: dict[str, str]) -> None:
    """Whatever a request says of its service, it is checked where S3 would answer it; by default it gets all others."""
    port = urlsplit(enforcing.local.endpoint_url).port or 0
    for query in ("", "?X-Amz-Credential=nobody/20261122/us-east-1/iam/aws4_request"):
        for method, path in (("GET", "/enforced/train.jsonl"), ("PUT", "/enforced/other"), ("GET", "/")):
            status, content = test_guard.ask(port, method, path + query, headers, host=headers.get("Host", ""))
            assert (status, b"<Error>" in content) == (403, True), (method, path, content)
    assert "other" not in {one["Key"] for one in enforcing.s3.list_objects_v2(Bucket="enforced")["Contents"]}


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("enforced.localhost.", "/mine/train.jsonl"),
        ("ENFORCED.localhost", "/mine/train.jsonl"),
        ("enforced.mine.localhost", "/train.jsonl"),
        ("www.enforced.localhost", "/train.jsonl"),
        ("localhost", "//enforced/train.jsonl"),
        ("localhost", "/mine/../enforced/train.jsonl"),
        ("localhost", "/mine%2f..%2fenforced/train.jsonl"),
    ],
)
def test_the_bucket_that_is_checked_is_the_one_that_answers(
    enforcing: Service, user: User, host: str, path: str
) -> None:
    """However a request names it."""
    someone = user(allow("s3:*", resource=["arn:aws:s3:::*mine*", "arn:aws:s3:::www.enforced/*"]))
    headers = {"Authorization": SIGNED.format("us-east-1/s3").replace("nobody", someone.key)}
    port = urlsplit(enforcing.local.endpoint_url).port or 0
    status, content = test_guard.ask(port, "GET", path, headers, host=host)
    assert (status, b"messages" in content) in ((403, False), (404, False)), content


@pytest.mark.parametrize("source", ["//mine/enforced/train.jsonl", "http://mine/enforced/train.jsonl"])
def test_the_source_that_is_checked_is_the_one_that_is_copied(enforcing: Service, user: User, source: str) -> None:
    """However a request writes it."""
    places = ["arn:aws:s3:::mine/*", "arn:aws:s3:::http:*", "arn:aws:s3:::enforced/own/*"]
    someone = user(allow("s3:*", resource=places))
    headers = {"Authorization": SIGNED.format("us-east-1/s3").replace("nobody", someone.key)}
    port = urlsplit(enforcing.local.endpoint_url).port or 0
    answer = test_guard.ask(port, "PUT", "/enforced/own/copy", headers | {"X-Amz-Copy-Source": source})
    assert answer[0] in (400, 403, 404), answer
    listing = "/enforced?list-type=2&prefix=train&prefix=own/"
    only = user(allow("s3:ListBucket", Condition={"StringEquals": {"s3:prefix": "own/"}}))
    headers = {"Authorization": SIGNED.format("us-east-1/s3").replace("nobody", only.key)}
    assert test_guard.ask(port, "GET", listing, headers)[0] == 403


def test_without_enforcement_nothing_is_refused(service: Service) -> None:
    """Who does not ask for it has it as before: anybody may do everything."""
    stranger = Person(service.local, "", {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x"})
    stranger.bedrock.list_custom_models()
    stranger.s3.list_buckets()
    stranger.close()


def test_simulate_principal_policy(enforcing: Service, user: User) -> None:
    """IAM's simulator says what the policies of a user say, with the context that is given."""
    passing = {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}
    someone = user(
        CREATE,
        allow("iam:PassRole", Condition=passing),
        {"Effect": "Deny", "Action": "bedrock:Delete*", "Resource": "*"},
    )
    iam = enforcing.local.client("iam")
    asked = {"ActionNames": ["bedrock:CreateModelCustomizationJob", "iam:PassRole", "bedrock:DeleteCustomModel"]}
    entry = {"ContextKeyName": "iam:PassedToService", "ContextKeyType": "string"}
    for values, decision in ((["bedrock.amazonaws.com"], "allowed"), (["other"], "implicitDeny"), ([], "implicitDeny")):
        given = {"ContextEntries": [{**entry, "ContextKeyValues": values}]} if values else {}
        found = iam.simulate_principal_policy(PolicySourceArn=someone.arn, **asked, **given)["EvaluationResults"]
        assert [one["EvalDecision"] for one in found] == ["allowed", decision, "explicitDeny"]
        assert found[1]["MissingContextValues"] == ([] if values else ["iam:PassedToService"])
    assert [one["SourcePolicyId"] for one in found[0]["MatchedStatements"]] == ["own"]
    with pytest.raises(ClientError, match="NoSuchEntity"):
        iam.simulate_principal_policy(PolicySourceArn=someone.arn + "x", **asked)
    iam.close()


def test_simulate_custom_policy(enforcing: Service) -> None:
    """Policies that are nowhere can be asked about too, for each action on each resource, within a boundary."""
    iam = enforcing.local.client("iam")
    found = iam.simulate_custom_policy(
        PolicyInputList=[document(allow("s3:*", resource="arn:aws:s3:::a/*"))],
        PermissionsBoundaryPolicyInputList=[document(allow("s3:Get*"))],
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=["arn:aws:s3:::a/k", "arn:aws:s3:::b/k"],
    )["EvaluationResults"]
    assert [(one["EvalActionName"][3:6], one["EvalResourceName"][13:], one["EvalDecision"]) for one in found] == [
        ("Get", "a/k", "allowed"),
        ("Get", "b/k", "implicitDeny"),
        ("Put", "a/k", "implicitDeny"),
        ("Put", "b/k", "implicitDeny"),
    ]
    assert [one["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"] for one in found[::2]] == [
        True,
        False,
    ]
    tagged = {"StringEquals": {"own:key": "a"}}
    denied = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": tagged}
    (one,) = iam.simulate_custom_policy(PolicyInputList=[document(allow("*"), denied)], ActionNames=["s3:GetObject"])[
        "EvaluationResults"
    ]
    assert one["EvalDecision"] == "allowed", "a key that the context lacks meets no condition"
    with pytest.raises(ClientError, match=r"InvalidInput.*not valid JSON"):
        iam.simulate_custom_policy(PolicyInputList=["{"], ActionNames=["s3:GetObject"])
    for odd in ('{"Statement": ["x"]}', '{"Statement": {"Effect": "Allow", "Action": 5, "Resource": "*"}}', "[]"):
        try:
            (one,) = iam.simulate_custom_policy(PolicyInputList=[odd], ActionNames=["s3:Get"])["EvaluationResults"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidInput":
                raise
        else:
            assert one["EvalDecision"] == "implicitDeny"
    iam.close()
