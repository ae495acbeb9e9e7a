"""Manifests, alert rules and dashboard: parsed, and whatever they name is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import ProcessCollector, generate_latest

from maskloop_backend.cli.main import cli
from maskloop_backend.serving.metrics import Metrics

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
# Prometheus' own, and labels that it adds.
OWN = {"up"}
OWN_LABELS = {"le", "job", "instance"}


def metrics() -> dict[str, set[str]]:
    """Return the labels of each series that /metrics has, by name."""
    made = Metrics()
    found: dict[str, set[str]] = {}
    for collector in made.registry._collector_to_names:
        for family in collector.collect():
            labels = set(getattr(collector, "_labelnames", ()))
            for suffix in SUFFIXES[family.type]:
                found[family.name.removesuffix("_total") + suffix] = labels
    return found


def expressions() -> Iterator[tuple[str, str]]:
    rules = yaml.safe_load((OPS / "prometheus" / "rules.yml").read_text())
    for group in rules["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    dashboard = json.loads((OPS / "grafana" / "maskloop.json").read_text())
    for panel in dashboard["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_and_label_that_is_named_exists(where: str, expression: str) -> None:
    known = metrics()
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"\b(?:maskloop|process)_\w+|\bup\b", bare))
    assert names
    assert names <= known.keys() | OWN, where
    allowed = OWN_LABELS.union(*(known.get(name, set()) for name in names))
    labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*""', bare))
    for listed in re.findall(r"\bby\s*\(([^)]*)\)", bare):
        labels |= {label.strip() for label in listed.split(",")}
    assert labels <= allowed, where
    assert bare.count("(") == bare.count(")")


def test_a_metric_that_is_not_there_would_be_noticed() -> None:
    assert "maskloop_requests_total" in metrics()
    assert "maskloop_requests" not in metrics()
    assert metrics()["maskloop_outcomes_total"] == {"outcome"}
    assert "process_resident_memory_bytes" in {family.name for family in ProcessCollector(registry=None).collect()}


def test_counters_that_alerts_watch_begin_at_zero() -> None:
    """A first failure is an increase only from a series that was there before."""
    registry = Metrics().registry
    watched = {
        (name, label, value)
        for _, expression in expressions()
        for name, label, value in re.findall(r'(maskloop_\w+_total)\{(\w+)="(\w+)"\}', expression)
    }
    assert ("maskloop_jobs_over_total", "state", "failed") in watched
    for name, label, value in watched:
        assert registry.get_sample_value(name, {label: value}) == 0, (name, value)


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on this machine (it comes with Prometheus)")
    return found


def test_prometheus_reads_the_rules_and_each_alert_fires(promtool: str) -> None:
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        run = subprocess.run(
            [promtool, *command], cwd=OPS / "prometheus", capture_output=True, text=True, check=False, timeout=60
        )
        assert run.returncode == 0, run.stdout + run.stderr
    tested = yaml.safe_load((OPS / "prometheus" / "rules_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in expected_in(tested) for case in test if case.get("exp_alerts")}
    quiet = {case["alertname"] for test in expected_in(tested) for case in test if not case.get("exp_alerts")}
    rules = yaml.safe_load((OPS / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
    assert fired == quiet == {rule["alert"] for rule in rules}


def expected_in(tests: list[Any]) -> Iterator[list[Any]]:
    """Return what each test expects of alerts."""
    return (test["alert_rule_test"] for test in tests)


def test_prometheus_finds_nothing_wrong_with_the_metrics(promtool: str) -> None:
    exposed = generate_latest(Metrics().registry)
    run = subprocess.run([promtool, "check", "metrics"], input=exposed, capture_output=True, check=False, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_alerts_say_what_and_what_to_do() -> None:
    rules = yaml.safe_load((OPS / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "description"}


@pytest.fixture
def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((OPS / "kubernetes" / "maskloop.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_manifests_fit_together(manifests: dict[str, Any]) -> None:
    assert manifests.keys() == {"PersistentVolumeClaim", "Service", "Deployment"}
    deployment = manifests["Deployment"]["spec"]
    pod = deployment["template"]
    (container,) = pod["spec"]["containers"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"]["type"] == "Recreate"
    labels = pod["metadata"]["labels"].items()
    assert manifests["Service"]["spec"]["selector"].items() <= labels
    assert deployment["selector"]["matchLabels"].items() <= labels
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    claimed = [v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v]
    assert claimed == [manifests["PersistentVolumeClaim"]["metadata"]["name"]]


def test_the_pod_has_probes_limits_and_no_rights(manifests: dict[str, Any]) -> None:
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
        assert container[probe]["exec"]["command"] == ["python", "/opt/maskloop/health.py", path]
        # health.py itself gives up after 5 s
        assert container[probe]["timeoutSeconds"] > 5
    for part in ("requests", "limits"):
        assert container["resources"][part].keys() == {"cpu", "memory"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    environment = {entry["name"]: entry for entry in container["env"]}
    shown = CliRunner().invoke(cli, ["serve", "--help"]).output
    for name in environment:
        assert name in shown, name
    for name in ("MASKLOOP_STUDIO_TOKEN", "MASKLOOP_BASIC_AUTH_USER", "MASKLOOP_BASIC_AUTH_PASSWORD"):
        assert "value" not in environment[name]
    # /ready fails, then running predictions have their 30 s, before the pod is killed
    assert spec["terminationGracePeriodSeconds"] > float(environment["MASKLOOP_DRAIN_SECONDS"]["value"]) + 30


def test_the_image_is_slim_and_its_user_is_the_pods(manifests: dict[str, Any]) -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", stage) for stage in stages)
    final = dockerfile.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\S+)", final, re.MULTILINE)
    security = manifests["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert int(user) == security["runAsUser"] == security["fsGroup"] != 0
    assert f"--uid {user}" in final
    # nothing is installed as another user after it, and no compiler comes along from the first stage
    assert "RUN" not in final.partition(f"USER {user}")[2]
    assert "apt-get" not in dockerfile
