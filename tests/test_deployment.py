"""The files for Compose and Kubernetes name existing commands, options and settings."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from streams.cli import group
from streams.embedded import jars, java
from streams.embedded.jars import KAFKA_VERSION
from streams.installation import load_settings
from streams.settings_file import ENVIRONMENT_PREFIX
from streams.web.security import OPEN_PATHS, access_of
from tests.support.installation import ROOT, Installation
from tests.support.time_limits import deadline

if TYPE_CHECKING:
    from collections.abc import Callable

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
    # An unknown option or an invalid value ends here.
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


def test_what_our_image_is_built_on_is_named_by_its_digest() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert len(bases) == 1, "built and run on the same"
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases.pop())


def test_our_image_reads_workbooks_and_parquet_with_the_versions_that_are_tested() -> None:
    (lock,) = set(re.findall(r"-r (\S+)", (ROOT / "deploy" / "Dockerfile").read_text())) - {
        "deploy/requirements-compiler.lock"
    }

    def versions(path: Path) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", path.read_text(), re.MULTILINE))

    installed = versions(ROOT / lock)
    assert {"openpyxl", "pyarrow"} <= {each.partition("==")[0] for each in installed}
    assert installed <= versions(ROOT / "deploy" / "requirements-dev.lock")
    assert versions(ROOT / "deploy" / "requirements.lock") <= installed


def test_what_our_image_copies_is_not_kept_from_its_build() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = [
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    ]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert any(name == each or name.startswith(f"{each}/") for each in allowed), name


def test_a_package_that_cannot_be_compiled_is_built_without_and_says_why(tmp_path: Path) -> None:
    """Except for an image, which must be as fast as tested, or is not built."""
    tree = tmp_path / "tree"
    for name in ("schemas", "streams", "deploy/demo"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "deploy/extensions.py"):
        shutil.copy(ROOT / name, tree / name)

    def build(**variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
        environment = {**os.environ, "CC": "/nowhere/cc"} | variables
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)

    done = build()
    assert done.returncode == 0, done.stderr
    assert (tree / "build" / "extensions.log").read_text() == "/nowhere/cc cannot be run: No such file or directory\n"
    with zipfile.ZipFile(tmp_path / "milestones-0.1.0-py3-none-any.whl") as wheel:
        assert not [name for name in wheel.namelist() if name.endswith(".so")]
    assert build(MILESTONES_EXTENSIONS="required").returncode != 0


def test_the_images_are_of_this_version() -> None:
    image = f"milestones:{importlib.metadata.version('milestones')}"
    assert {service["image"] for service in OURS.values()} == {image}
    assert {container["image"] for container in CONTAINERS.values()} == {image}


def test_kafka_is_named_by_its_digest_and_no_newer_than_the_one_that_is_tested() -> None:
    found = re.fullmatch(r"apache/kafka:(\d+)\.(\d+)\.(\d+)@sha256:[0-9a-f]{64}", COMPOSE["services"]["kafka"]["image"])
    assert found is not None
    version, tested = tuple(map(int, found.groups())), tuple(map(int, KAFKA_VERSION.split(".")))
    assert version[0] == tested[0]
    assert version <= tested


def test_the_digests_are_those_of_what_is_written(tmp_path: Path) -> None:
    """A changed setting changes the pods' digest and the Job's name; stamping twice gives the same."""
    folder = ROOT / "deploy" / "kubernetes"
    stamp, manifests = tmp_path / "stamp", tmp_path / "milestones.yaml"
    stamp.write_text((folder / "stamp").read_text())
    manifests.write_text((folder / "milestones.yaml").read_text())

    def run(*options: str) -> int:
        return subprocess.run([sys.executable, stamp, *options], check=False).returncode

    def stamps() -> list[str]:
        return re.findall(r"(?:settings: \"|topics-)([0-9a-f]{10})", manifests.read_text())

    assert run("--check") == 0, "run deploy/kubernetes/stamp"
    before = stamps()
    assert len(before) == 3
    assert before[1] == before[2]
    manifests.write_text(manifests.read_text().replace("exceeds = 1000", "exceeds = 2000"))
    assert run("--check") == 1
    assert run() == 0
    assert not set(stamps()) & set(before)
    changed = stamps()
    manifests.write_text(manifests.read_text().replace("backoffLimit: 6", "backoffLimit: 7"))
    assert run() == 0
    assert stamps()[0] != changed[0]
    assert stamps()[1:] == changed[1:], "the settings are the same"


def test_a_stateful_set_has_the_headless_service_that_it_names() -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in MANIFESTS if each["kind"] == "Service"}
    sets = [each for each in MANIFESTS if each["kind"] == "StatefulSet"]
    assert sets
    for each in sets:
        service = services[each["spec"]["serviceName"]]
        assert service["clusterIP"] == "None"
        assert service["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.kafka
async def test_the_probes_of_a_worker_tell_how_it_is(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    """Runs the probe commands of the manifests on what a worker writes."""
    installation = await Installation(bootstrap, prefix, tmp_path).create()
    state = installation.settings.state_dir
    probes = CONTAINERS["worker"]
    commands = [probes[name]["exec"]["command"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    commands.append(["sh", "-c", COMPOSE["services"]["worker-1"]["healthcheck"]["test"][1].replace("$$", "$")])

    def answers() -> list[bool]:
        environment = {"PATH": os.environ["PATH"], "POD_NAME": "worker-1"}
        texts = [[*command[:-1], command[-1].replace("/tmp/milestones", state)] for command in commands]
        return [
            subprocess.run(text, env=environment, capture_output=True, check=False).returncode == 0 for text in texts
        ]

    assert answers() == [False] * 4
    worker = installation.worker("worker-1", slow_open_s=2)
    try:
        heartbeat = Path(state) / "health" / "worker-1"
        await until(heartbeat.exists)
        assert answers() == [True, True, False, False], "alive, and not ready before it has opened its partitions"
        await until(lambda: answers() == [True] * 4)
        worker.kill(signal.SIGSTOP)
        old = time.time() - 90
        os.utime(heartbeat, (old, old))
        assert answers() == [False, False, True, False], "what does not run any more does not write"
        worker.kill(signal.SIGCONT)
        await until(lambda: answers() == [True] * 4)
        worker.kill(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0
        assert answers() == [False] * 4
    finally:
        installation.end()


async def until(condition: Callable[[], bool], timeout_s: float = 40.0) -> None:
    give_up_s = deadline(timeout_s)
    while not condition():
        assert time.monotonic() < give_up_s
        await asyncio.sleep(0.1)


def test_the_data_of_kafka_are_still_there_when_its_container_is_recreated(tmp_path: Path) -> None:
    """Runs the program of the image's entry point, which writes the broker's settings from the environment and formats."""
    kafka = COMPOSE["services"]["kafka"]
    (mount,) = [volume.partition(":")[2] for volume in kafka["volumes"]]
    volume, defaults = tmp_path / "volume", tmp_path / "defaults"
    defaults.mkdir()
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (defaults / name).write_text("")

    def start(container: str) -> dict[str, str]:
        """Another container around the volume; returns what the volume then holds."""
        folders = [defaults, tmp_path / container / "mounted", tmp_path / container / "config"]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        environment = {name: value.replace(mount, str(volume)) for name, value in kafka["environment"].items()}
        options = zip(("--default-configs-dir", "--mounted-configs-dir", "--final-configs-dir"), folders, strict=True)
        done = subprocess.run(
            [
                *(
                    java.java(),
                    "-XX:TieredStopAtLevel=1",
                    "-XX:+UseSerialGC",
                    "-cp",
                    os.pathsep.join(map(str, jars.ensure_jars(lambda _line: None))),
                ),
                *("kafka.docker.KafkaDockerWrapper", "setup"),
                *(str(part) for option in options for part in option),
            ],
            env={"PATH": os.environ["PATH"], "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw", **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        # The entry point continues if the program says so.
        assert done.returncode == 0 or "already formatted" in said, said
        assert (volume / "meta.properties").exists(), f"the data are in the container: {said}"
        return {path.name: path.read_text(errors="replace") for path in volume.iterdir() if path.is_file()}

    first = start("first")
    assert start("second") == first, "formatted once"


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
