"""A lane as deploy/aws/modworker.yaml makes it, with a bucket and a config file: sound, until a test breaks it."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from tests.deploy.stack import bring_up
from tests.doctor.front import Front, Refusal
from tests.system.desk import Desk
from tests.system.test_moto import client, make_bucket

EXTERNAL_ID = "replace-with-a-random-text"
HOST_ROLE_ARN = "arn:aws:iam::123456789012:role/modworker-host"
PREFIX = "2024/"
KEY = f"{PREFIX}a.mp4"


class Setup:
    """Whatever of it is called `name` belongs to this test alone; `lane` is what the config file says."""

    def __init__(self, name: str, moto_url: str, front: Front, desk: Desk, lane: str = "main") -> None:
        self.name = name
        self.moto_url = moto_url
        self.front = front
        self.desk = desk
        self.bucket = f"{name}-archive"
        make_bucket(moto_url, self.bucket, [KEY, f"{PREFIX}b.mp4"])
        parameters = {"Name": name, "Bucket": self.bucket, "HostRoleArn": HOST_ROLE_ARN, "ExternalId": EXTERNAL_ID}
        self.outputs = bring_up(self.client("cloudformation"), name, parameters)
        self.lane: dict[str, Any] = tomllib.loads(self.outputs["Lane"])["lanes"]["main"]
        self.lane |= {"external_id": EXTERNAL_ID, "endpoint_url": front.url}
        desk.sections[f"lanes.{lane}"] = self.lane

    def client(self, service: str) -> Any:
        """A plain client of moto's account."""
        return client(service, self.moto_url)

    @property
    def source(self) -> str:
        """What is to be registered."""
        return f"s3://{self.bucket}/{PREFIX}"

    @property
    def publish_role(self) -> str:
        """The name of the publish role."""
        return self.outputs["PublishRoleArn"].rpartition("/")[2]

    def refuse(self, *operations: str, **refusal: Any) -> None:
        """Let AWS refuse operations from now on."""
        self.front.refusals |= dict.fromkeys(operations, Refusal(**refusal))

    def set_queue(self, **attributes: str) -> None:
        """Change attributes of the queue; moto forgets a policy that is not set with the others."""
        policy = {"Policy": self.queue_policy()} if "Policy" not in attributes else {}
        self.client("sqs").set_queue_attributes(QueueUrl=self.outputs["QueueUrl"], Attributes=policy | attributes)

    def queue_policy(self) -> str:
        """The queue's policy."""
        asked = {"QueueUrl": self.outputs["QueueUrl"], "AttributeNames": ["Policy"]}
        return str(self.client("sqs").get_queue_attributes(**asked)["Attributes"]["Policy"])

    def subscription_arn(self) -> str:
        """The queue's subscription."""
        [found] = self.client("sns").list_subscriptions_by_topic(TopicArn=self.outputs["SnsTopicArn"])["Subscriptions"]
        return str(found["SubscriptionArn"])

    def examine(self, *sources: str) -> list[dict[str, str]]:
        """What `doctor` finds; whether its exit code is right is checked by the way."""
        code = self.desk.run("doctor", *sources, "--json")
        document = json.loads(self.desk.out)
        assert code == (1 if document["faults"] else 0), self.desk.err
        return list(document["findings"])


def faults(findings: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    """(subject, sentence, remedy) of each fault."""
    found = [(f["subject"], f["sentence"], f["remedy"]) for f in findings if f["verdict"] == "fault"]
    assert all(remedy for _, _, remedy in found)
    return found


def not_checked(findings: list[dict[str, str]]) -> set[str]:
    """The subjects of which nothing can be said."""
    return {f["subject"] for f in findings if f["verdict"] == "not checked"}
