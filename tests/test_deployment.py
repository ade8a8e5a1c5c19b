"""The files for Compose and Kubernetes name commands, options and settings that there are."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from streams.cli import group
from streams.embedded.jars import KAFKA_VERSION
from streams.installation import load_settings
from streams.settings import ENVIRONMENT_PREFIX
from streams.web.security import OPEN_PATHS, access_of
from tests.support.installation import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MANIFESTS = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "milestones.yaml").read_text()))
PODS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"]
    for each in MANIFESTS
    if each["kind"] in {"Job", "StatefulSet", "Deployment"}
}
CONTAINERS = {container["name"]: container for pod in PODS.values() for container in pod["containers"]}
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"].startswith("milestones")}
TOKEN = "0123456789abcdef0123456789abcdef"
COMMANDS = {
    **{f"compose-{name}": service["command"] for name, service in OURS.items()},
    **{f"kubernetes-{name}": container["args"] for name, container in CONTAINERS.items()},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The settings of the ConfigMap."""
    (text,) = [each["data"]["milestones.toml"] for each in MANIFESTS if each["kind"] == "ConfigMap"]
    path = tmp_path / "milestones.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_is_one_that_is_understood(name: str, config: Path) -> None:
    arguments = [str(config) if each == "/etc/milestones/milestones.toml" else each for each in COMMANDS[name]]
    command: click.Command = group
    context = click.Context(group, info_name="milestones")
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        assert found is not None, arguments
        command, arguments = found, arguments[1:]
    # An option that there is not, or a value that is none, ends here.
    command.make_context("milestones", list(arguments), parent=context)


@pytest.mark.parametrize("name", OURS)
def test_the_environment_of_a_service_is_of_settings(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in OURS[name]["environment"].items():
        assert variable.startswith(ENVIRONMENT_PREFIX)
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-\}", TOKEN, value))
    settings = load_settings()
    assert settings.bootstrap_servers == "kafka:19092"
    if name == "web":
        assert (
            access_of(settings.model_copy(update={"web_bind": COMPOSE["services"]["web"]["command"][2]})).port == 8080
        )


def test_the_settings_of_the_config_map_are_valid(config: Path) -> None:
    assert [rule.name for rule in load_settings(config).rule] == ["daily-1000"]


def test_the_images_are_of_this_version_and_kafka_is_the_one_that_is_tested() -> None:
    image = f"milestones:{importlib.metadata.version('milestones')}"
    assert {service["image"] for service in OURS.values()} == {image}
    assert {container["image"] for container in CONTAINERS.values()} == {image}
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_whatever_is_mounted_is_there() -> None:
    for pod in PODS.values():
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = [mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]]
        assert set(mounts) == volumes


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    for pod in PODS.values():
        assert pod["securityContext"]["runAsNonRoot"]
    contexts: list[Any] = [container["securityContext"] for container in CONTAINERS.values()]
    assert all(each["readOnlyRootFilesystem"] and not each["allowPrivilegeEscalation"] for each in contexts)
    assert all(service["read_only"] for service in OURS.values())


def test_probes_ask_for_what_needs_no_token_at_the_port_that_is_bound() -> None:
    web = CONTAINERS["web"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert web[name]["httpGet"]["path"] in OPEN_PATHS
    assert web["args"][-1].endswith(f":{web['ports'][0]['containerPort']}")
    (asked,) = re.findall(r"http://127\.0\.0\.1:8080(/\w+)", COMPOSE["services"]["web"]["healthcheck"]["test"][-1])
    assert asked in OPEN_PATHS


def test_only_loopback_is_published() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
