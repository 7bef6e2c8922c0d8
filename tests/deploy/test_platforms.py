"""The files for Ray, Kubernetes and ECS fit the schemas of these, and the program itself."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import kubernetes_validate
import pytest
import yaml
from botocore.validate import ParamValidator

from worker.cli import app
from worker.config import Settings, schema

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES_VERSIONS = (kubernetes_validate.utils.all_versions()[0], kubernetes_validate.latest_version())
GRACE_SECONDS = Settings().worker.shutdown_grace_seconds


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def pod_templates(node: Any) -> Iterator[dict[str, Any]]:
    """Every pod that a document describes."""
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}):
            yield node
        yield from chain.from_iterable(pod_templates(value) for value in node.values())
    elif isinstance(node, list):
        yield from chain.from_iterable(pod_templates(value) for value in node)


def valid(document: dict[str, Any], version: str) -> None:
    """By the schema of Kubernetes in that version, in which unknown fields are mistakes."""
    kubernetes_validate.validate(document, version, strict=True)


def probed(container: dict[str, Any]) -> list[tuple[str, str]]:
    """Each probe and its port."""
    probes = [(name, probe) for name, probe in container.items() if name.endswith("Probe")]
    return [(name, (probe.get("httpGet") or probe["tcpSocket"])["port"]) for name, probe in probes]


def of_modworker(container: dict[str, Any]) -> list[str]:
    """The arguments of its `modworker`, which is the image's entry point; [] if it runs something else."""
    if "command" not in container:
        return list(container.get("args", []))
    words = shlex.split(" ".join(container["args"]))
    return words[words.index("modworker") + 1 :]


def is_setting(variable: str) -> bool:
    """Whether a variable of the environment names a setting."""
    _, section, key = variable.lower().replace("modworker_", "modworker__", 1).split("__")
    definition = schema()["properties"][section]["$ref"].rpartition("/")[2]
    return key in schema()["$defs"][definition]["properties"]


def assert_is_request(service: str, operation: str, parameters: dict[str, Any]) -> None:
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
    shape = client.meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(parameters, shape)
    assert not report.has_errors(), report.generate_report()


def ecs_container() -> dict[str, Any]:
    (container,) = json.loads((DEPLOY / "ecs" / "task-definition.json").read_text())["containerDefinitions"]
    return dict(container)


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
    assert_is_request("ecs", operation, json.loads((DEPLOY / "ecs" / f"{name}.json").read_text()))


def test_ecs_tasks_have_time_to_end(config: Path):
    """The platform kills after the worker's own grace period; its command and its variables are the program's."""
    container = ecs_container()
    given = {one["name"]: one["value"] for one in container["environment"]}
    assert container["stopTimeout"] > float(given["MODWORKER_WORKER__SHUTDOWN_GRACE_SECONDS"])
    assert all(is_setting(one["name"]) for one in container["environment"] + container["secrets"])
    assert_is_command(container["command"], config)


def test_ecs_tasks_may_do_nothing_that_they_need_not():
    """No root, no file system to write, no capability; the files that are mounted travel encrypted."""
    container = ecs_container()
    assert container["user"] == "10001:10001"
    assert container["readonlyRootFilesystem"]
    assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}


def test_ray_file_fits_the_launchers_schema():
    """Ray brings the schema of its launcher's files."""
    autoscaler = Path(pytest.importorskip("ray").__file__).parent / "autoscaler"
    (document,) = documents(DEPLOY / "ray" / "cluster.yaml")
    jsonschema.validate(document, json.loads((autoscaler / "ray-schema.json").read_text()))
    assert document["head_node_type"] in document["available_node_types"]


def test_ray_nodes_are_requests_of_ec2():
    """What the launcher hands over of a node is RunInstances' own."""
    (document,) = documents(DEPLOY / "ray" / "cluster.yaml")
    for node in document["available_node_types"].values():
        assert_is_request("ec2", "RunInstances", node["node_config"] | {"MinCount": 1, "MaxCount": 1})


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_kubernetes_files_fit_its_schemas(path: Path, version: str):
    """Every document has the fields of its kind and no other; KubeRay's own kind has at least such pods."""
    for document in documents(path):
        if document["kind"] == "RayCluster":
            for template in pod_templates(document):
                valid({"apiVersion": "v1", "kind": "PodTemplate", "template": template}, version)
        else:
            valid(document, version)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_a_misspelt_field_of_a_container_is_found(path: Path):
    """What Kubernetes would drop without a word does not fit."""
    template = next(pod_templates(documents(path)))
    template["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        valid({"apiVersion": "v1", "kind": "PodTemplate", "template": template}, KUBERNETES_VERSIONS[-1])


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_kubernetes_files_are_whole(path: Path, config: Path):
    """Selectors find their pods, mounts their volumes, probes their ports; commands and variables are the program's."""
    for document in documents(path):
        spec = document.get("spec", {})
        if "template" in spec:
            labels = spec["template"]["metadata"]["labels"]
            assert spec["selector"]["matchLabels"].items() <= labels.items()
        for template in pod_templates(document):
            pod = template["spec"]
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            for container in pod["containers"]:
                assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
                ports = {port["name"] for port in container.get("ports", [])}
                assert {port for _, port in probed(container)} <= ports
                own = [one["name"] for one in container.get("env", []) if one["name"].startswith("MODWORKER_")]
                assert all(map(is_setting, own))
                if arguments := of_modworker(container):
                    assert_is_command(arguments, config)
                    assert pod["terminationGracePeriodSeconds"] > GRACE_SECONDS


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_pods_may_do_nothing_that_they_need_not(path: Path):
    """No root, no file system to write, no capability, no token but KubeRay's; what they take is bounded."""
    for template in pod_templates(documents(path)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        [container] = pod["containers"]
        assert pod.get("automountServiceAccountToken") is False or container["name"] == "ray-head"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"]["memory"]
        assert "livenessProbe" in dict(probed(container))


def test_replicas_are_probed_where_the_worker_answers():
    """Alive by /healthz, from its start on, and ready by /readyz."""
    [template] = [
        one for found in documents(DEPLOY / "kubernetes" / "statefulset.yaml") for one in pod_templates(found)
    ]
    [container] = template["spec"]["containers"]
    paths = {probe: container[probe]["httpGet"]["path"] for probe, _ in probed(container)}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_kuberay_runs_the_ray_that_is_installed():
    """Its version is the one of the lock."""
    ray = pytest.importorskip("ray")
    [cluster] = [one for one in documents(DEPLOY / "kubernetes" / "raycluster.yaml") if one["kind"] == "RayCluster"]
    assert cluster["spec"]["rayVersion"] == ray.__version__


def test_no_budget_of_disruptions_keeps_all_replicas():
    """One replica may always be moved, and the others go on."""
    found = [one for path in KUBERNETES for one in documents(path) if one["kind"] == "PodDisruptionBudget"]
    assert [one["spec"]["maxUnavailable"] for one in found] == [1]
