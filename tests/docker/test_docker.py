"""The image's parts without an engine: compose file, secrets, and the install and start steps as plain commands."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from maskloop_backend.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "docker-compose.yml").read_text())
    return loaded


def sh(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_label_studio_and_backend_are_pointed_at_each_other() -> None:
    services = compose()["services"]
    studio, backend = services["label-studio"], services["backend"]
    assert studio["image"] == "heartexlabs/label-studio:1.23.2"
    assert backend["environment"]["MASKLOOP_STUDIO_URL"] == "http://label-studio:8080"
    # links are for browsers, which know no service of this file
    assert backend["environment"]["MASKLOOP_STUDIO_PUBLIC_URL"] == studio["environment"]["LABEL_STUDIO_HOST"]
    assert "localhost" in studio["environment"]["LABEL_STUDIO_HOST"]
    assert backend["environment"]["MASKLOOP_STUDIO_TOKEN"] == studio["environment"]["LABEL_STUDIO_USER_TOKEN"]
    # the measured pair that lets Label Studio call a backend with a private address
    assert studio["environment"]["ML_BLOCK_LOCAL_IP"] == "false"
    assert studio["environment"]["SSRF_PROTECTION_ENABLED"] == "false"
    assert backend["depends_on"]["label-studio"]["condition"] == "service_healthy"


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_have_no_default() -> None:
    text = (DOCKER / "docker-compose.yml").read_text()
    for name in re.findall(r"\$\{(\w+)", text):
        if re.search(r"PASSWORD|TOKEN|USER", name):
            assert f"${{{name}:?run docker/secrets.sh first}}" in text, name
    assert not (DOCKER / ".env").exists() or "/.env*" in (DOCKER / ".gitignore").read_text()


def test_every_setting_of_the_backend_is_one_that_the_command_knows() -> None:
    shown = CliRunner().invoke(cli, ["serve", "--help"]).output
    settings = set(compose()["services"]["backend"]["environment"])
    settings |= set(re.findall(r"(MASKLOOP_\w+)=", (DOCKER / "Dockerfile").read_text()))
    for name in settings:
        assert name in shown, name


def test_secrets_are_random_private_and_never_overwritten(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        assert sh(DOCKER / "secrets.sh", file).returncode == 0
        assert file.stat().st_mode & 0o077 == 0
    values = [dict(line.split("=", 1) for line in file.read_text().splitlines()) for file in files]
    needed = set(re.findall(r"\$\{(\w+):\?", (DOCKER / "docker-compose.yml").read_text()))
    assert set(values[0]) == needed | {"COMPOSE_PROJECT_NAME"}
    for name in needed - {"LABEL_STUDIO_USERNAME", "MASKLOOP_BASIC_AUTH_USER"}:
        assert re.fullmatch("[0-9a-f]{40}", values[0][name])
        assert values[0][name] != values[1][name]
    before = files[0].read_bytes()
    again = sh(DOCKER / "secrets.sh", files[0])
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert files[0].read_bytes() == before
    assert sorted(tmp_path.iterdir()) == files


def compose_command() -> list[str]:
    """Return the command of Compose: Docker's plugin, or the program of its own that Debian has."""
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    alone = shutil.which("docker-compose")
    if alone is None:
        pytest.skip("neither `docker compose` nor `docker-compose` on this machine (apt-get install docker-compose)")
    return [alone]


def test_compose_file_is_accepted(tmp_path: Path) -> None:
    sh(DOCKER / "secrets.sh", tmp_path / "env")
    files = ["--env-file", str(tmp_path / "env"), "-f", str(DOCKER / "docker-compose.yml")]
    done = subprocess.run([*compose_command(), *files, "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    values = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert services["backend"]["environment"]["MASKLOOP_STUDIO_TOKEN"] == values["LABEL_STUDIO_USER_TOKEN"]
    assert values["COMPOSE_PROJECT_NAME"] == "maskloop"
    assert services["label-studio"]["environment"]["DJANGO_DB"] == "sqlite"


def test_compose_file_has_postgresql_where_it_is_asked_for(tmp_path: Path) -> None:
    sh(DOCKER / "secrets.sh", "--postgres", tmp_path / "env")
    values = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert values["COMPOSE_PROFILES"] == "postgres"
    done = subprocess.run(
        [*compose_command(), "-f", str(DOCKER / "docker-compose.yml"), "config"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | values,
    )
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    studio, postgres = services["label-studio"]["environment"], services["postgres"]
    assert (studio["DJANGO_DB"], studio["POSTGRE_HOST"]) == ("postgresql", "postgres")
    assert studio["POSTGRE_PASSWORD"] == postgres["environment"]["POSTGRES_PASSWORD"] == values["POSTGRES_PASSWORD"]
    assert studio["POSTGRE_USER"] == postgres["environment"]["POSTGRES_USER"]
    assert studio["POSTGRE_NAME"] == postgres["environment"]["POSTGRES_DB"]


def test_the_lock_has_every_dependency_with_a_version_that_is_allowed_and_its_files() -> None:
    locked = {}
    for block in re.split(r"\n(?=\S)", (DOCKER / "requirements.txt").read_text()):
        requirement = Requirement(block.partition("\\")[0])
        assert block.count("--hash=sha256:") > 0, requirement
        if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.12"}):
            (pin,) = requirement.specifier
            locked[canonicalize_name(requirement.name)] = pin.version
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["backend"] + extras["openvino"]:
        wanted = Requirement(text)
        if wanted.name != project["name"]:
            assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), text


def test_image_runs_as_nobody_in_particular_and_checks_its_health() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    last_stage = text.rpartition("\nFROM ")[2]
    assert "\nUSER 10001\n" in last_stage
    assert "--uid 10001 " in last_stage
    assert "\nHEALTHCHECK " in last_stage
    for source in re.findall(r"^COPY (?:--chmod=\d+ )?((?:[\w./]+ )+)\S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
            top = name.split("/")[0] if "/" not in name else name
            assert f"!{top}" in (ROOT / ".dockerignore").read_text(), name


def test_health_check_needs_the_standard_library_only() -> None:
    tree = ast.parse((DOCKER / "health.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.e2e
@pytest.mark.slow
def test_install_start_health_and_stop_in_a_clean_directory(tmp_path: Path) -> None:
    """What the image does, as plain commands; pip's cache makes it cheaper the second time."""
    venv = tmp_path / "venv"
    clean = {"PYTHONPATH": "", "PYTHON": sys.executable}
    source = tmp_path / "source"
    source.mkdir()
    (source / "docker").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "backend", "converters", "docker/requirements.txt"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    installed = sh(DOCKER / "install.sh", source, venv, **clean)
    assert installed.returncode == 0, installed.stderr
    assert "No broken requirements found" in installed.stdout
    again = sh(DOCKER / "install.sh", source, venv, **clean)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)

    environment = (
        os.environ
        | clean
        | {
            "MASKLOOP_VENV": str(venv),
            "MASKLOOP_HOME": str(tmp_path / "home"),
            "MASKLOOP_HOST": "0.0.0.0",
            "MASKLOOP_PORT": "0",
            "MASKLOOP_BASIC_AUTH_USER": "label-studio",
            "MASKLOOP_BASIC_AUTH_PASSWORD": "größe",
        }
    )
    process = subprocess.Popen(
        ["sh", str(DOCKER / "start.sh")], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if " listening " in line)
        port = re.search(r"url=\S+:(\d+)", line)
        assert port is not None
        health = [str(venv / "bin" / "python"), str(DOCKER / "health.py")]
        checked = subprocess.run(
            health, env=environment | {"MASKLOOP_PORT": port[1]}, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        assert json.loads(checked.stdout)["model"] == "none"
        wrong = environment | {"MASKLOOP_PORT": port[1], "MASKLOOP_BASIC_AUTH_PASSWORD": "x"}
        refused = subprocess.run(health, env=wrong, capture_output=True, text=True, check=False)
        assert (refused.returncode, "401" in refused.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
