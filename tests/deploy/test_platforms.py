"""The files for Ray, Kubernetes and ECS fit their schemas, where these can be had offline, and the program itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator

from worker.cli import app
from worker.config import Settings, schema

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
GRACE_SECONDS = Settings().worker.shutdown_grace_seconds


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def pods(node: Any) -> Iterator[dict[str, Any]]:
    """Every pod that a document describes."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        yield from chain.from_iterable(pods(value) for value in node.values())
    elif isinstance(node, list):
        yield from chain.from_iterable(pods(value) for value in node)


def is_setting(variable: str) -> bool:
    """Whether a variable of the environment names a setting."""
    _, section, key = variable.lower().replace("modworker_", "modworker__", 1).split("__")
    definition = schema()["properties"][section]["$ref"].rpartition("/")[2]
    return key in schema()["$defs"][definition]["properties"]


def assert_is_command(arguments: list[str], config: Path) -> None:
    given = [str(config) if one.endswith("worker.toml") else one for one in arguments]
    app.parse_args(given, exit_on_error=False, print_error=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "worker.toml"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("name", "operation"), [("task-definition", "RegisterTaskDefinition"), ("service", "CreateService")]
)
def test_ecs_files_are_requests_of_the_api(name: str, operation: str):
    """Every member is one of the operation's, of its type, and none that it requires is missing."""
    client = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
    shape = client.meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(json.loads((DEPLOY / "ecs" / f"{name}.json").read_text()), shape)
    assert not report.has_errors(), report.generate_report()


def test_ecs_tasks_have_time_to_end(config: Path):
    """The platform kills after the worker's own grace period; its command and its variables are the program's."""
    (container,) = json.loads((DEPLOY / "ecs" / "task-definition.json").read_text())["containerDefinitions"]
    given = {one["name"]: one["value"] for one in container["environment"]}
    assert container["stopTimeout"] > float(given["MODWORKER_WORKER__SHUTDOWN_GRACE_SECONDS"])
    assert all(is_setting(one["name"]) for one in container["environment"] + container["secrets"])
    assert_is_command(container["command"], config)


def test_ray_file_fits_the_launchers_schema():
    """Ray brings the schema of its launcher's files."""
    autoscaler = Path(pytest.importorskip("ray").__file__).parent / "autoscaler"
    (document,) = documents(DEPLOY / "ray" / "cluster.yaml")
    jsonschema.validate(document, json.loads((autoscaler / "ray-schema.json").read_text()))
    assert document["head_node_type"] in document["available_node_types"]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_kubernetes_files_are_whole(path: Path, config: Path):
    """Selectors find their pods, mounts their volumes, probes their ports; commands and variables are the program's."""
    for document in documents(path):
        assert document.keys() >= {"apiVersion", "kind", "metadata", "spec"}
        spec = document["spec"]
        if "template" in spec:
            labels = spec["template"]["metadata"]["labels"]
            assert spec["selector"]["matchLabels"].items() <= labels.items()
        for pod in pods(document):
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            for container in pod["containers"]:
                assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
                ports = {port["name"] for port in container.get("ports", [])}
                probes = [container[kind] for kind in ("livenessProbe", "readinessProbe") if kind in container]
                assert {probe["httpGet"]["port"] for probe in probes} <= ports
                own = [one["name"] for one in container.get("env", []) if one["name"].startswith("MODWORKER_")]
                assert all(map(is_setting, own))
                if "args" in container:
                    assert_is_command(container["args"], config)
                    assert pod["terminationGracePeriodSeconds"] > GRACE_SECONDS


def test_no_budget_of_disruptions_keeps_all_replicas():
    """One replica may always be moved, and the others go on."""
    found = [one for path in KUBERNETES for one in documents(path) if one["kind"] == "PodDisruptionBudget"]
    assert [one["spec"]["maxUnavailable"] for one in found] == [1]
