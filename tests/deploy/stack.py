"""deploy/aws/modworker.yaml brought up on moto, which is lent the three kinds of resources that it does not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.models import cloudformation_backends
from moto.core.common_models import CloudFormationModel
from moto.iam.models import iam_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

REGION = "us-east-1"
TEMPLATE = Path(__file__).parents[2] / "deploy" / "aws" / "modworker.yaml"


class _Resource(CloudFormationModel):
    """What is made by one call of a service, and has no life of its own."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return ""


class QueuePolicy(_Resource, CloudFormationModel):
    """AWS::SQS::QueuePolicy."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SQS::QueuePolicy"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        for url in properties["Queues"]:
            policy = {"Policy": json.dumps(properties["PolicyDocument"])}
            sqs_backends[account_id][region_name].set_queue_attributes(url.rpartition("/")[2], policy)
        return cls(resource_name)


class TopicPolicy(_Resource, CloudFormationModel):
    """AWS::SNS::TopicPolicy."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::TopicPolicy"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        for arn in properties["Topics"]:
            sns_backends[account_id][region_name].get_topic(arn).policy = json.dumps(properties["PolicyDocument"])
        return cls(resource_name)


class Subscription(_Resource, CloudFormationModel):
    """AWS::SNS::Subscription."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::Subscription"

    @classmethod
    def create_from_cloudformation_json(cls, _, cloudformation_json, account_id, region_name, **__):
        properties = cloudformation_json["Properties"]
        arguments = (properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
        return cls(sns_backends[account_id][region_name].subscribe(*arguments).arn)


parsing.get_model_list.cache_clear()
parsing.get_model_map.cache_clear()
parsing.get_name_type_map.cache_clear()


def bring_up(cloudformation: Any, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Make a stack; gives its outputs."""
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    cloudformation.create_stack(
        StackName=name, TemplateBody=TEMPLATE.read_text(), Parameters=given, Capabilities=["CAPABILITY_IAM"]
    )
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    write_policies()
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def give_outputs() -> None:
    """Those of stacks that were made by change sets, which moto forgets to tell."""
    for account in cloudformation_backends.values():
        for stack in account[REGION].stacks.values():
            stack._parse_template()
            stack.output_map = stack._create_output_map()


def write_policies() -> None:
    """As AWS gives them out: moto leaves the policies of a stack's roles as objects of Python."""
    for accounts in iam_backends.values():
        for role in accounts["aws"].roles.values():
            for name, policy in role.policies.items():
                role.policies[name] = policy if isinstance(policy, str) else json.dumps(policy)
