"""deploy/aws/modworker.yaml makes what the JSON files say, and what it makes suffices for every call of `doctor`."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import boto3
import cfnlint.api
import cfnlint.decode
import pytest
from msgspec import Struct

from tests.deploy.stack import TEMPLATE, bring_up
from tests.deploy.test_aws_commands import ROLES, run
from tests.deploy.test_aws_permissions import EXTERNAL_ID, HOST, ROLE, reset
from tests.deploy.test_aws_policies import (
    ACCOUNT,
    ATTRIBUTES,
    BUCKET,
    POLICIES,
    PUBLISH_ROLE_ARN,
    REGION,
    ROOT,
    TOPIC_ARN,
)
from tests.system.test_moto import client, moto_url
from worker.config import Lane, load

__all__ = ["moto_url"]

NAME = "moderation"
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
HOST_ARN = f"arn:aws:iam::{ACCOUNT}:role/{HOST}"


class Stack(Struct, frozen=True):
    """What was brought up, and where."""

    url: str
    outputs: dict[str, str]

    def as_named(self, file: str) -> Any:
        """A file with the names that the stack has given."""
        names = {
            TOPIC_ARN: self.outputs["SnsTopicArn"],
            PUBLISH_ROLE_ARN: self.outputs["PublishRoleArn"],
            f"arn:aws:iam::{ACCOUNT}:role/moderation": self.outputs["RoleArn"],
        }
        text = json.dumps((POLICIES | ATTRIBUTES)[file])
        for placeholder, name in names.items():
            text = text.replace(placeholder, name)
        return json.loads(text)

    def role(self, output: str) -> tuple[Any, dict[str, Any]]:
        """The trust of a role, and its policies."""
        iam, name = client("iam", self.url), self.outputs[output].rpartition("/")[2]
        policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
        documents = {p: iam.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"] for p in policies}
        return iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"], documents


@pytest.fixture(scope="module")
def stack(moto_url: str) -> Stack:
    """The template with the placeholders of the files, with a key, an inventory and arrivals."""
    reset(moto_url)
    parameters = {"Name": NAME, "Bucket": BUCKET, "HostRoleArn": HOST_ARN}
    parameters |= {"KmsKeyArn": KEY_ARN, "InventoryBucket": "my-inventory", "Arrivals": "yes"}
    outputs = bring_up(client("cloudformation", moto_url), "modworker", parameters | {"ExternalId": EXTERNAL_ID})
    return Stack(moto_url, outputs)


def resources() -> dict[str, Any]:
    """The resources of the template, functions and all."""
    template, mistakes = cfnlint.decode.decode(str(TEMPLATE))
    assert not mistakes
    found: dict[str, Any] = json.loads(json.dumps(template))["Resources"]
    return found


def without_functions(value: Any) -> Any:
    """The value with Fn::Sub taken off, whose variables were replaced before."""
    if isinstance(value, dict):
        return value["Fn::Sub"] if "Fn::Sub" in value else {key: without_functions(v) for key, v in value.items()}
    return [without_functions(v) for v in value] if isinstance(value, list) else value


def test_template_is_sound():
    """cfn-lint knows every resource, property and action in it, and finds nothing."""
    assert cfnlint.api.lint_file(TEMPLATE) == []


def test_lane_of_the_outputs_is_one_of_the_config_file(stack: Stack):
    """What is to be pasted into the config file is a lane with the other outputs in it, and no secret."""
    section = tomllib.loads(stack.outputs["Lane"])["lanes"]["main"]
    lane = Lane(**section)
    assert (lane.region, lane.quotas) == (REGION, "auto")
    assert (lane.queue_url, lane.sns_topic_arn) == (stack.outputs["QueueUrl"], stack.outputs["SnsTopicArn"])
    assert (lane.publish_role_arn, lane.role_arn) == (stack.outputs["PublishRoleArn"], stack.outputs["RoleArn"])
    assert EXTERNAL_ID not in json.dumps(stack.outputs)


def test_roles_are_those_of_the_files(stack: Stack):
    """Trusts and policies, statement by statement."""
    trust, granted = stack.role("RoleArn")
    assert trust == stack.as_named("worker-role-trust.json")
    assert granted == {policy: stack.as_named(file) for policy, file in ROLES[ROLE].items()}
    trust, granted = stack.role("PublishRoleArn")
    assert trust == stack.as_named("publish-role-trust.json")
    assert granted == {"publish": stack.as_named("publish-role-policy.json")}
    policy = boto3.resource("iam", **_moto(stack.url)).Policy(stack.outputs["HostPolicyArn"])
    assert policy.default_version.document == stack.as_named("host-policy.json")


def test_topic_and_queues_are_those_of_the_files(stack: Stack):
    """Policies and attributes, as far as moto keeps them; the topic's messages reach the queue."""
    sns, sqs = client("sns", stack.url), client("sqs", stack.url)
    topic, url = stack.outputs["SnsTopicArn"], stack.outputs["QueueUrl"]
    attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert json.loads(attributes["Policy"]) == stack.as_named("topic-policy.json")
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert json.loads(found["Policy"]) == stack.as_named("queue-policy.json")
    wanted = ATTRIBUTES["queue-attributes.json"]
    assert {key: found[key].lower() for key in ("MessageRetentionPeriod", "SqsManagedSseEnabled")} == {
        key: wanted[key] for key in ("MessageRetentionPeriod", "SqsManagedSseEnabled")
    }
    assert json.loads(found["RedrivePolicy"], parse_int=str) == json.loads(wanted["RedrivePolicy"])
    dead = resources()["DeadLetters"]["Properties"]
    allowed = (
        json.dumps(dead["RedriveAllowPolicy"]).replace("${AWS::Partition}", "aws").replace("${AWS::Region}", REGION)
    )
    allowed = allowed.replace("${AWS::AccountId}", ACCOUNT).replace("${Name}", NAME)
    file = ATTRIBUTES["dead-letter-attributes.json"]
    assert without_functions(json.loads(allowed)) == json.loads(file["RedriveAllowPolicy"])
    assert str(dead["MessageRetentionPeriod"]) == file["MessageRetentionPeriod"]
    found = sqs.get_queue_attributes(QueueUrl=stack.outputs["ArrivalsQueueUrl"], AttributeNames=["All"])["Attributes"]
    assert json.loads(found["Policy"]) == stack.as_named("arrivals-queue-policy.json")
    assert found["MessageRetentionPeriod"] == ATTRIBUTES["arrivals-queue-attributes.json"]["MessageRetentionPeriod"]
    sns.publish(TopicArn=topic, Message="heard")
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"])["Message"] == "heard"


def _moto(url: str) -> dict[str, str]:
    return {
        "region_name": REGION,
        "endpoint_url": url,
        "aws_access_key_id": "testing",
        "aws_secret_access_key": "testing",
    }


def documented() -> list[str]:
    """The commands of docs/aws.md that make the stack, and that print its lane."""
    text = (ROOT / "docs" / "aws.md").read_text()
    [commands] = re.findall(r"^```sh\n(aws cloudformation .*?)^```", text, re.DOTALL | re.MULTILINE)
    return [f"aws cloudformation {command}" for command in str(commands).split("aws cloudformation ")[1:]]


def test_documented_command_makes_the_stack(stack: Stack, tmp_path: Path):
    """Its parameters are the template's, and none that has no default is missing."""
    making, _ = documented()
    named = making.replace("--stack-name modworker", "--stack-name again").rstrip() + " Name=again"
    run(named, stack.url, tmp_path, folder=ROOT)
    url = client("sqs", stack.url).get_queue_url(QueueName="again")["QueueUrl"]
    attributes = client("sqs", stack.url).get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    assert ":AmazonRekognition-again" in attributes["Policy"]


def test_documented_command_prints_the_lane(stack: Stack, tmp_path: Path):
    """What it writes is a config file, in which the lane is the stack's."""
    _, printing = documented()
    run(printing, stack.url, tmp_path, folder=tmp_path)
    assert load(tmp_path / "worker.toml").settings.lanes["main"].role_arn == stack.outputs["RoleArn"]
