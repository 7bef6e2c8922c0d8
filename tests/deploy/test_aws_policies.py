"""deploy/aws: the policies are tight, and grant exactly what the program calls, as its own code says."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "aws"
WORKER = ROOT / "worker"
LOCAL, DOCTOR = WORKER / "local", WORKER / "doctor"
REGION = "us-east-1"
ACCOUNT = "123456789012"
BUCKET = "my-archive"
INVENTORY_BUCKET = "my-inventory"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:moderation"
ARRIVALS_ARN = f"{QUEUE_ARN}-arrivals"
QUEUE_URL = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/moderation"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:AmazonRekognitionModeration"
PUBLISH_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/rekognition-publish"
RETENTION_SECONDS = 14 * 86_400

NEEDED = {
    "rekognition:StartContentModeration": {
        "rekognition:StartContentModeration",
        "iam:PassRole",
        "s3:GetObject",
        "s3:GetObjectVersion",
    },
    "s3:HeadObject": {"s3:GetObject", "s3:GetObjectVersion"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
    "sqs:DeleteMessageBatch": {"sqs:DeleteMessage"},
    "sqs:ChangeMessageVisibilityBatch": {"sqs:ChangeMessageVisibility"},
    "sts:GetCallerIdentity": set[str](),
    "service-quotas:GetServiceQuota": {"servicequotas:GetServiceQuota"},  # IAM spells the service otherwise
    "service-quotas:GetAWSDefaultServiceQuota": {"servicequotas:GetAWSDefaultServiceQuota"},
}
"""Operation -> the actions that allow it, where they are not of the same name. Source: the service authorization
reference of S3, SQS, STS and Rekognition (a role is passed in NotificationChannel, the video is read as the caller)."""

POLICIES = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*polic*.json"))}
POLICIES |= {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*-trust.json"))}
ATTRIBUTES = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*-attributes.json"))}
STATEMENTS = [(name, statement) for name, policy in POLICIES.items() for statement in policy["Statement"]]


def listed(value: str | list[str]) -> list[str]:
    """A policy's element, which may be one text or several."""
    return [value] if isinstance(value, str) else value


def actions_in(*names: str) -> set[str]:
    """What the files allow."""
    return {action for name in names for s in POLICIES[name]["Statement"] for action in listed(s["Action"])}


def statements_of(name: str, effect: str) -> list[dict[str, Any]]:
    """A file's statements of that effect."""
    return [statement for statement in POLICIES[name]["Statement"] if statement["Effect"] == effect]


def every_file() -> dict[str, str]:
    """The texts in which an operator replaces the placeholders."""
    paths = [*FOLDER.iterdir(), ROOT / "docs" / "aws.md"]
    return {path.name: path.read_text() for path in paths}


def test_every_file_is_known_here():
    """A new file is either a policy or a queue's attributes, so that the lint sees it."""
    assert {path.name for path in FOLDER.iterdir()} == {
        *(*POLICIES, *ATTRIBUTES),
        *("arrivals-notification.json", "modworker.yaml", "README.md"),
    }
    assert {policy["Version"] for policy in POLICIES.values()} == {"2012-10-17"}


def test_every_statement_says_what_it_is_for():
    """Each has an id of its own within its file, and none says what it does not mean."""
    for policy in POLICIES.values():
        ids = [statement["Sid"] for statement in policy["Statement"]]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[A-Za-z]+", sid) for sid in ids)
    assert not [name for name, s in STATEMENTS if {"NotAction", "NotResource", "NotPrincipal"} & set(s)]


def test_no_action_is_a_pattern():
    """Every action is spelt out."""
    assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", a) for _, s in STATEMENTS for a in listed(s["Action"]))


def test_only_what_knows_no_resources_has_all_of_them():
    """Operations of Rekognition and Service Quotas are bound to the region; everything else names its resource."""
    unbound = {
        "worker-policy.json": {"rekognition:StartContentModeration", "rekognition:GetContentModeration"},
        "worker-policy-quotas.json": {"servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota"},
    }
    for name, statement in STATEMENTS:
        for resource in listed(statement.get("Resource", [])):
            if resource == "*":
                assert set(statement["Action"]) == unbound[name]
                assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": REGION}}
            else:
                buckets = f"{BUCKET}|{INVENTORY_BUCKET}"
                assert re.fullmatch(rf"arn:aws:[a-z0-9]+:[^*]+|arn:aws:s3:::({buckets})/\*", resource), (name, resource)


def test_a_role_is_passed_to_rekognition_only():
    """PassRole names one role, and the one service that it may be passed to."""
    [passing] = [s for _, s in STATEMENTS if "iam:PassRole" in listed(s["Action"])]
    assert passing["Action"] == "iam:PassRole"
    assert passing["Resource"] == PUBLISH_ROLE_ARN
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "rekognition.amazonaws.com"}}


def test_nobody_is_everybody():
    """Everybody is named only where something is denied; a service only together with the account or resource."""
    for name, statement in STATEMENTS:
        principal = statement.get("Principal")
        if principal == "*":
            assert statement["Effect"] == "Deny", name
        elif principal and "Service" in principal:
            keys = {key for values in statement["Condition"].values() for key in values}
            assert keys & {"aws:SourceAccount", "aws:SourceArn"}, name
        elif principal:
            assert list(principal) == ["AWS"]
            assert re.fullmatch(rf"arn:aws:iam::{ACCOUNT}:role/[a-z-]+", principal["AWS"]), name


def test_rekognition_publishes_for_this_account_only():
    """Somebody else's moderation cannot borrow the role: the confused deputy is asked whose errand it runs."""
    [trust] = POLICIES["publish-role-trust.json"]["Statement"]
    assert trust["Principal"] == {"Service": "rekognition.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    [publishing] = POLICIES["publish-role-policy.json"]["Statement"]
    assert (publishing["Action"], publishing["Resource"]) == ("sns:Publish", TOPIC_ARN)


def test_nobody_but_the_topic_sends_to_the_queue():
    """The topic may send, nobody else may whatever their own policies say, and nothing goes over plain HTTP."""
    [sending] = statements_of("queue-policy.json", "Allow")
    assert (sending["Principal"], sending["Action"]) == ({"Service": "sns.amazonaws.com"}, "sqs:SendMessage")
    assert sending["Condition"] == {"ArnEquals": {"aws:SourceArn": TOPIC_ARN}}
    denied = {s["Sid"]: s for s in statements_of("queue-policy.json", "Deny")}
    assert denied["NobodyElseSends"]["Condition"] == {"ArnNotEquals": {"aws:SourceArn": TOPIC_ARN}}
    assert denied["NobodyElseSends"]["Action"] == "sqs:SendMessage"
    assert denied["NothingInPlainText"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    queue_actions = {action for action in actions_in("worker-policy.json") if action.startswith("sqs:")}
    assert set(denied["NothingInPlainText"]["Action"]) == queue_actions | {"sqs:SendMessage"}
    assert {s["Resource"] for s in POLICIES["queue-policy.json"]["Statement"]} == {QUEUE_ARN}


def test_nobody_but_the_bucket_sends_to_the_queue_of_arrivals():
    """The bucket may, of this account's; nobody else whatever their own policies say, and nothing over plain HTTP."""
    name = "arrivals-queue-policy.json"
    [sending] = statements_of(name, "Allow")
    assert (sending["Principal"], sending["Action"]) == ({"Service": "s3.amazonaws.com"}, "sqs:SendMessage")
    of_bucket, of_account = {"aws:SourceArn": f"arn:aws:s3:::{BUCKET}"}, {"aws:SourceAccount": ACCOUNT}
    assert sending["Condition"] == {"ArnEquals": of_bucket, "StringEquals": of_account}
    denied = {s["Sid"]: s for s in statements_of(name, "Deny")}
    assert denied["NobodyElseSends"]["Condition"] == {"ArnNotEquals": of_bucket}
    assert denied["NothingInPlainText"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    of_messages = actions_in("worker-policy-arrivals.json") - {"sqs:GetQueueAttributes"} | {"sqs:SendMessage"}
    assert set(denied["NothingInPlainText"]["Action"]) == of_messages
    resources = {s["Resource"] for file in (name, "worker-policy-arrivals.json") for s in POLICIES[file]["Statement"]}
    assert resources == {ARRIVALS_ARN}


def test_nobody_but_the_publish_role_publishes():
    """The role may, nobody else may whatever their own policies say, and nothing goes over plain HTTP."""
    [publishing] = statements_of("topic-policy.json", "Allow")
    assert (publishing["Principal"], publishing["Action"]) == ({"AWS": PUBLISH_ROLE_ARN}, "sns:Publish")
    conditions = [s["Condition"] for s in statements_of("topic-policy.json", "Deny")]
    assert {"ArnNotEquals": {"aws:PrincipalArn": PUBLISH_ROLE_ARN}} in conditions
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert {(s["Action"], s["Resource"]) for _, s in STATEMENTS if "topic" in _} == {("sns:Publish", TOPIC_ARN)}


def test_messages_are_kept_for_14_days_wherever_they_end():
    """As long as SQS keeps them; what is received ten times and stays goes to a queue that only this one may use."""
    assert {attributes["MessageRetentionPeriod"] for attributes in ATTRIBUTES.values()} == {str(RETENTION_SECONDS)}
    redrive = json.loads(ATTRIBUTES["queue-attributes.json"]["RedrivePolicy"])
    assert redrive == {"deadLetterTargetArn": f"{QUEUE_ARN}-dead", "maxReceiveCount": "10"}
    allowed = json.loads(ATTRIBUTES["dead-letter-attributes.json"]["RedriveAllowPolicy"])
    assert allowed == {"redrivePermission": "byQueue", "sourceQueueArns": [QUEUE_ARN]}
    assert {attributes["SqsManagedSseEnabled"] for attributes in ATTRIBUTES.values()} == {"true"}


def test_placeholders_are_the_same_throughout():
    """One account, one region, one bucket, one name for each thing, in the policies as in the documents."""
    for name, text in every_file().items():
        assert set(re.findall(r"(?<!\d)\d{12}(?!\d)", text)) <= {ACCOUNT}, name
        assert set(re.findall(r"arn:aws:s3:::([a-z-]+)", text)) <= {BUCKET, INVENTORY_BUCKET}, name
        assert set(re.findall(r"arn:aws:[a-z]+:([a-z]+-[a-z]+-\d):", text)) <= {REGION}, name
        assert set(re.findall(r"[a-z0-9]+\.([a-z]+-[a-z]+-\d)\.amazonaws", text)) <= {REGION}, name
        assert set(re.findall(rf"arn:aws:sns:{REGION}:{ACCOUNT}:(\w+)", text)) <= {"AmazonRekognitionModeration"}, name
        assert set(re.findall(r"https://sqs[^\s\"]+", text)) <= {QUEUE_URL, f"{QUEUE_URL}-arrivals"}, name


def services() -> set[str]:
    """The services that clients are made of; an option of the SDK's is called as one is."""
    known = set(botocore.session.get_session().get_available_services()) - {"config"}
    makers = [WORKER / "aws" / "session.py", WORKER / "doctor" / "lane.py"]
    nodes = [node for path in makers for node in ast.walk(ast.parse(path.read_text()))]
    return {n.value for n in nodes if isinstance(n, ast.Constant) and n.value in known}


def methods() -> dict[str, set[str]]:
    """A client's method -> the operations of the services that it may be, such as "sqs:ReceiveMessage"."""
    session = botocore.session.get_session()
    found: dict[str, set[str]] = {}
    for service in services():
        for operation in session.get_service_model(service).operation_names:
            found.setdefault(xform_name(operation), set()).add(f"{service}:{operation}")
    return found


def operation_of(path: Path, node: ast.Call) -> str:
    """The operation that is named by a constant of the module, as the call's first argument; "" if none is."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    constant = getattr(module, ast.unparse(node.args[0]), "") if node.args else ""
    return xform_name(constant) if isinstance(constant, str) else ""


def calls() -> set[str]:
    """Every operation that the worker calls."""
    return calls_in(*(path for path in WORKER.rglob("*.py") if not {LOCAL, DOCTOR} & set(path.parents)))


def calls_in(*paths: Path) -> set[str]:
    """Every operation that a part of the program calls, as its code says.

    A role is assumed by botocore itself, on behalf of whoever makes its refresher. What is sent without a client's
    method is named by a constant, and so is what an address is signed for.
    """
    known = {**methods(), "create_assume_role_refresher": {"sts:AssumeRole"}}
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert name not in ("get_paginator", "get_waiter"), (path, node.lineno)
                if name == "generate_presigned_url":
                    name = ast.literal_eval(node.args[0])
                for method in {name, operation_of(path, node) if path.parent == WORKER / "aws" else ""} & known.keys():
                    [operation] = known[method]
                    found.add(operation)
    return found


def needed_for(operations: set[str]) -> set[str]:
    """The actions that allow operations."""
    return set().union(*(NEEDED.get(operation, {operation}) for operation in operations))


def test_what_is_granted_is_what_the_code_calls():
    """No action more, none less; what only some operators need is in files apart."""
    assert services() == {"rekognition", "sqs", "s3", "sts", "service-quotas", "sns", "iam"}
    assert NEEDED.keys() <= calls()
    working, listing, inventory, arrivals, assuming, quotas = (
        actions_in(f"{name}.json")
        for name in (
            *("worker-policy", "worker-policy-listing", "worker-policy-inventory", "worker-policy-arrivals"),
            *("host-policy", "worker-policy-quotas"),
        )
    )
    assert working | listing | inventory | assuming | quotas == needed_for(calls())
    assert arrivals == {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
    assert inventory == {"s3:GetObject"}
    assert {action.partition(":")[0] for action in quotas} == {"servicequotas"}
    assert listing == {"s3:ListBucket"}
    assert assuming == {"sts:AssumeRole"}
    assert actions_in("worker-policy-kms.json") == {"kms:Decrypt"}
    assert not working & (listing | assuming)


def test_what_doctor_looks_at_is_a_file_apart():
    """What `doctor` calls beyond the worker's own calls is granted there, and reads only."""
    looking = actions_in("worker-policy-doctor.json")
    assert looking == needed_for(calls_in(*DOCTOR.rglob("*.py"))) - actions_in("worker-policy.json")
    assert all(re.fullmatch(r"[a-z]+:(Get|List)[A-Za-z]+", action) for action in looking)
