"""docker-compose.yaml, as far as it can be judged without a container engine: what `up` would start, and how safely."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # called once: that does not warrant its stubs
import pytest
import yaml

from airflow_bedrock.get_provider_info import get_provider_info
from airflow_bedrock.local.access import SECRET
from scripts import compose

if TYPE_CHECKING:
    from tests.packaging.conftest import Run

SECRETS = "/run/airflow-secrets/"
# Commands that Airflow gets from the celery and fab providers, which are in its image but not in this environment.
FROM_THE_IMAGE = {"celery", "users"}


def needs_docker_compose() -> None:
    """Skip the test where Debian's docker-compose is missing; fail it in CI, where it must not be missing."""
    if shutil.which("docker-compose") is None:
        reason = "Debian's docker-compose is not installed: apt-get install docker-compose"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def written(checkout: Path) -> dict[str, Any]:
    """Return docker-compose.yaml as it is written."""
    loaded: dict[str, Any] = yaml.safe_load((checkout / "docker-compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def resolve(run: Run, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return a function that returns the services as docker-compose reads them, with these settings and no others."""
    needs_docker_compose()
    nothing = tmp_path_factory.mktemp("settings") / "empty.env"
    nothing.touch()
    command = ["docker-compose", "--env-file", nothing, "--file", checkout / "docker-compose.yaml", "config"]

    def resolve(**given: str) -> dict[str, Any]:
        services: dict[str, Any] = yaml.safe_load(run(*command, cwd=checkout, env=given).stdout)["services"]
        return services

    return resolve


@pytest.fixture(scope="module")
def services(resolve: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return the services of a bare `docker compose up`: no .env, no variables."""
    return resolve()


def test_the_schema_accepts_it(written: dict[str, Any]) -> None:
    """The file is valid by the JSON schema of the compose specification that Debian's docker-compose brings."""
    needs_docker_compose()
    listed = subprocess.run(["dpkg", "--listfiles", "docker-compose"], capture_output=True, text=True, check=True)  # noqa: S607  dpkg is wherever PATH says
    (schema,) = [path for path in listed.stdout.split() if path.endswith("/compose_spec.json")]
    validator = jsonschema.Draft201909Validator(json.loads(Path(schema).read_text()))
    validator.validate(written)
    assert not validator.is_valid(written | {"servces": {}})


def test_airflow_is_whole(services: dict[str, Any]) -> None:
    """The services are those of Airflow's own file, Local Bedrock, and the one that makes the secrets."""
    airflow = {"apiserver", "scheduler", "dag-processor", "worker", "triggerer", "init"}
    assert set(services) == {"postgres", "redis", "local-bedrock", "secrets"} | {f"airflow-{each}" for each in airflow}


def test_ports_are_on_loopback(services: dict[str, Any]) -> None:
    """Nothing is published but the UI and Local Bedrock, and both on 127.0.0.1 alone."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "airflow-apiserver": ["127.0.0.1:8080:8080/tcp"],
        "local-bedrock": ["127.0.0.1:5005:5005/tcp"],
    }
    assert not [name for name, service in services.items() if service.get("network_mode") == "host"]


def test_what_runs_on_has_a_health_check(services: dict[str, Any]) -> None:
    """Each service that stays up has a health check; the two that end are started once."""
    once = {name for name, service in services.items() if service["restart"] == "no"}
    assert once == {"secrets", "airflow-init"}
    assert {name for name, service in services.items() if "healthcheck" not in service} == once


def test_nothing_waits_for_what_is_missing(services: dict[str, Any]) -> None:
    """A service waits for others to be healthy only where they have a health check, to be done only where they end."""
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            ends = services[other]["restart"] == "no"
            assert wanted["condition"] == ("service_completed_successfully" if ends else "service_healthy"), (
                name,
                other,
            )


def test_images_are_pinned(services: dict[str, Any], checkout: Path) -> None:
    """Every image has an exact version, Airflow's that of constraints.txt; what is fetched has its digest too."""
    (airflow,) = re.findall(r"^apache-airflow==(\S+)", (checkout / "constraints.txt").read_text(), flags=re.MULTILINE)
    (base,) = re.findall(r"^ARG AIRFLOW_IMAGE=(\S+)$", (checkout / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert base.startswith(f"apache/airflow:{airflow}-python3.12@")
    built = {service["image"] for service in services.values() if "build" in service}
    assert built == {f"airflow-bedrock:{airflow}-python3.12"}
    fetched = {base} | {service["image"] for service in services.values() if "build" not in service}
    pinned = re.compile(r"[a-z/]+:\d+\.\d+(\.\d+)?-[a-z0-9.]+@sha256:[0-9a-f]{64}")
    assert [image for image in fetched if not pinned.fullmatch(image)] == []
    assert services["local-bedrock"]["build"]["args"] == {"AIRFLOW_IMAGE": base}
    told = dict(re.findall(r"^#(\w+_IMAGE)=(\S+)$", (checkout / ".env.example").read_text(), flags=re.MULTILINE))
    assert told == {
        "AIRFLOW_IMAGE": base,
        "POSTGRES_IMAGE": services["postgres"]["image"],
        "REDIS_IMAGE": services["redis"]["image"],
    }


def test_images_can_be_named_by_digest(resolve: Callable[..., dict[str, Any]]) -> None:
    """Each image that is fetched can be fixed to its content: the build's, the database's and the broker's."""
    digest = f"@sha256:{'0' * 64}"
    services = resolve(
        AIRFLOW_IMAGE=f"airflow:1{digest}", POSTGRES_IMAGE=f"postgres:1{digest}", REDIS_IMAGE=f"redis:1{digest}"
    )
    fetched = {
        service.get("build", {}).get("args", {}).get("AIRFLOW_IMAGE") or service["image"]
        for service in services.values()
    }
    assert {image.partition("@")[0] for image in fetched if image.endswith(digest)} == {
        *("airflow:1", "postgres:1", "redis:1"),
    }
    assert all(image.endswith(digest) for image in fetched)


def test_containers_have_no_rights(services: dict[str, Any]) -> None:
    """No container can gain rights, none but the database's has any, and only what must begin as root does."""
    assert {name for name, each in services.items() if each["security_opt"] != ["no-new-privileges:true"]} == set()
    assert {name for name, each in services.items() if each.get("cap_drop") != ["ALL"]} == {"postgres"}
    assert {name for name, each in services.items() if each.get("user", "0:0").startswith("0:")} == {
        "postgres",
        "secrets",
    }
    assert not [name for name, each in services.items() if each.get("privileged") or each.get("cap_add")]


def test_what_others_reach_is_read_only(services: dict[str, Any]) -> None:
    """Local Bedrock and redis write to memory and to Local Bedrock's own volume alone."""
    for name, writable in {"local-bedrock": {"/tmp", "/var/lib/local-bedrock"}, "redis": {"/data"}}.items():  # noqa: S108  # in the container
        service = services[name]
        assert service["read_only"] is True
        volumes = [mount.split(":") for mount in service["volumes"]]
        assert {*(each.split(":")[0] for each in service["tmpfs"])} | {
            target for _, target, mode in volumes if mode != "ro"
        } == writable


def test_local_bedrock_runs_on_a_read_only_system(services: dict[str, Any], tmp_path: Path) -> None:
    """What the container can write is all that Local Bedrock needs: here the rest of the disk is read-only as well."""
    _, _, *flags = shlex.split(services["local-bedrock"]["command"])
    state = tmp_path / "state"
    state.mkdir()
    flags[flags.index("--state") + 1] = str(state)
    flags[flags.index("--port") + 1] = "0"
    flags[flags.index("--host") + 1] = "127.0.0.1"
    program = shlex.join([str(Path(sys.executable).parent / "airflow-bedrock"), "local", *flags])
    script = f"""
        mount --bind {state} {state}
        mount --options remount,bind,ro /
        if touch {tmp_path}/elsewhere; then exit 3; fi
        exec setpriv --bounding-set=-all --inh-caps=-all {program}
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script]
    if subprocess.run([*command[:4], "true"], check=False).returncode:
        pytest.skip("this system does not let a user make namespaces: unshare --user --mount")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(9)]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Local Bedrock listens on" in told[-1], errors
    assert (state / "state.sqlite").stat().st_size > 0


def test_dags_are_read_only(services: dict[str, Any], checkout: Path) -> None:
    """The example DAGs are mounted from the checkout, and no container can change them or anything else in it."""
    mounts = {mount for service in services.values() for mount in service.get("volumes", [])}
    from_the_checkout = {mount for mount in mounts if mount.startswith(str(checkout))}
    assert f"{checkout}/dags:/opt/airflow/dags:ro" in from_the_checkout
    assert [mount for mount in from_the_checkout if not mount.endswith(":ro")] == []


def settings(services: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield service, name and value of each environment variable."""
    for service, described in services.items():
        for name, value in described.get("environment", {}).items():
            yield service, name, str(value)


def test_no_secret_is_written_down(services: dict[str, Any]) -> None:
    """What is secret is read from a file that the first start generated; by default no variable holds one."""
    secret = re.compile(r"PASSWORD|SECRET|_KEY|TOKEN|SQL_ALCHEMY|RESULT_BACKEND|BROKER_URL")
    found = {(name, value) for _, name, value in settings(services) if secret.search(name) and value}
    assert found
    for name, value in found:
        assert name.endswith(("_CMD", "_FILE")), name
        assert value.removeprefix("cat ").startswith(SECRETS), (name, value)
    assert [value for *_, value in settings(services) if re.search(r"://[^/\s]*:[^/\s]*@", value)] == []


def test_every_secret_that_is_read_is_made(services: dict[str, Any], run: Run, checkout: Path, tmp_path: Path) -> None:
    """Each file that a service reads from the secrets' volume is one that the service `secrets` writes there."""
    assert services["secrets"]["entrypoint"] == ["/bin/sh", "/compose_secrets.sh", SECRETS.rstrip("/")]
    run("sh", checkout / "scripts/compose_secrets.sh", tmp_path)
    read = re.findall(re.escape(SECRETS) + r"(\w+)", yaml.safe_dump(services))
    assert set(read) == {file.name for file in tmp_path.iterdir()}


# https://airflow.apache.org/docs/apache-airflow-providers-celery/stable/configurations-ref.html
SENSITIVE_IN_THE_IMAGE = {("celery", "broker_url"): True}


def airflow_options() -> dict[tuple[str, str], bool]:
    """Return the options of Airflow, its providers and this package, each with whether `…_CMD` may give it."""
    found = importlib.util.find_spec("airflow")
    assert found is not None
    assert found.origin is not None
    templates = Path(found.origin).parent / "config_templates"
    described = yaml.safe_load((templates / "config.yml").read_text())
    of_providers = configparser.ConfigParser(interpolation=None)
    of_providers.read(templates / "provider_config_fallback_defaults.cfg")
    known = {(section, option): False for section in of_providers for option in of_providers[section]}
    known |= SENSITIVE_IN_THE_IMAGE
    for section, whole in (described | get_provider_info()["config"]).items():
        known |= {(section, option): bool(told.get("sensitive")) for option, told in whole["options"].items()}
    return known


def test_airflow_knows_every_option(services: dict[str, Any]) -> None:
    """Each AIRFLOW__SECTION__OPTION exists; where it is given as a command, Airflow would run that."""
    options = airflow_options()
    names = {name for _, name, _ in settings(services) if name.startswith("AIRFLOW__")}
    assert len(names) > 5
    for name in names:
        section, option = name.lower().removeprefix("airflow__").split("__")
        assert (section, option.removesuffix("_cmd")) in options, name
        assert not option.endswith("_cmd") or options[section, option.removesuffix("_cmd")], name


def airflow_commands(services: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the arguments of each `airflow` command that a service or a health check runs."""
    for name, service in services.items():
        started = service.get("command", "")
        if isinstance(started, list):
            yield from airflow_calls(started[-1])
        elif name.startswith("airflow-"):
            yield shlex.split(started)
        yield from airflow_calls(" ".join(service.get("healthcheck", {}).get("test", [])))


def airflow_calls(script: str) -> Iterator[list[str]]:
    """Yield the arguments of each `airflow` command in a shell script."""
    for call in re.findall(r"\bairflow ((?:[^\n\\]|\\\n)+)", script):
        yield shlex.split(call.replace("\\\n", " "))


def test_airflow_has_every_command(services: dict[str, Any], run: Run) -> None:
    """Airflow's own command line accepts what the services and their health checks run, arguments and all."""
    commands = list(airflow_commands(services))
    started = {" ".join(command[:2]) for command in commands}
    assert started == {
        *("api-server", "scheduler", "dag-processor", "triggerer", "celery worker"),
        *("db migrate", "users create", "jobs check"),
    }
    program = (
        "import json, sys; from airflow.cli.cli_parser import get_parser\n"
        "for command in json.load(sys.stdin): get_parser().parse_args(command)"
    )
    checked = [command for command in commands if command[0] not in FROM_THE_IMAGE]
    run(sys.executable, "-c", program, stdin=json.dumps(checked))


def test_local_bedrock_has_every_flag(services: dict[str, Any], run: Run) -> None:
    """The service starts `airflow-bedrock local` with flags that it has, and its health is asked where it listens."""
    service = services["local-bedrock"]
    program, subcommand, *flags = shlex.split(service["command"])
    told = run(Path(sys.executable).parent / program, subcommand, "--help").stdout
    assert [flag for flag in flags if flag.startswith("--") and flag not in told] == []
    port = flags[flags.index("--port") + 1]
    assert service["ports"][0].endswith(f":{port}/tcp")
    assert service["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/_local/health"


def test_airflow_finds_local_bedrock(services: dict[str, Any]) -> None:
    """By default Airflow's AWS connection leads to the service beside it, with path-style S3 requests."""
    for name in ("airflow-worker", "airflow-triggerer", "airflow-dag-processor"):
        environment = services[name]["environment"]
        connection = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
        assert (connection["conn_type"], connection["password"]) == ("aws", SECRET)
        assert connection["extra"]["endpoint_url"] == "http://local-bedrock:5005"
        assert connection["extra"]["config_kwargs"] == {"s3": {"addressing_style": "path"}}
        assert environment["AIRFLOW_VAR_BEDROCK_BUCKET"] == "airflow-bedrock-local"
        assert environment["AIRFLOW_VAR_BEDROCK_ROLE_ARN"] == "arn:aws:iam::123456789012:role/AirflowBedrockLocal"


def test_settings_lead_to_aws(resolve: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """The same file runs against AWS where BEDROCK_ENV_FILE names a file with another connection."""
    other = tmp_path / "aws.env"
    other.write_text('AIRFLOW_CONN_AWS_DEFAULT={"conn_type": "aws", "extra": {"region_name": "us-west-2"}}\n')
    environment = resolve(BEDROCK_ENV_FILE=str(other))["airflow-worker"]["environment"]
    assert json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])["extra"] == {"region_name": "us-west-2"}
    assert "AIRFLOW_VAR_BEDROCK_BUCKET" not in environment


def test_every_setting_is_documented(checkout: Path) -> None:
    """The variables that docker-compose.yaml reads are those in .env.example."""
    read = re.findall(r"(?<!\$)\$\{(\w+)", (checkout / "docker-compose.yaml").read_text())
    told = re.findall(r"^#(\w+)=", (checkout / ".env.example").read_text(), flags=re.MULTILINE)
    assert set(read) == set(told)


def test_make_live_runs_what_compose_runs(services: dict[str, Any], checkout: Path) -> None:
    """Read without docker-compose, the commands and variables are the same, but for the places of volumes."""
    home = Path("/home-of-the-run")
    natively = compose.services(home)
    assert set(natively) == set(services)
    places = {
        str(home / "secrets"): SECRETS.rstrip("/"),
        str(home / "local-bedrock"): "/var/lib/local-bedrock",
        str(checkout / "scripts" / "compose_secrets.sh"): "/compose_secrets.sh",
    }

    def there(text: str) -> str:
        for here, place in places.items():
            text = text.replace(here, place)
        return text

    for name, service in services.items():
        mine = natively[name]
        words = [there(word) for word in mine.command]
        plain = [word.replace("$$", "$") for word in listed(service.get("command"))]
        assert words[len(words) - len(plain) :] == plain, name
        described = {key: str(value) for key, value in service.get("environment", {}).items()}
        assert {key: there(value) for key, value in mine.environment.items()} == described, name
        assert mine.restarts == (service["restart"] == "unless-stopped")


def listed(value: str | list[str] | None) -> list[str]:
    """Return a command's words."""
    return shlex.split(value) if isinstance(value, str) else value or []
