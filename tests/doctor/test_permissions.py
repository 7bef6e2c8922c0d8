"""moto judges: what the template grants suffices for everything that `doctor` looks at."""

from __future__ import annotations

import json

import pytest
from moto.sns.responses import SNSResponse

from tests.deploy.test_aws_permissions import as_moto_says, told
from tests.doctor.setup import Setup, faults, not_checked


def topic_of(call: SNSResponse) -> str:
    """The resource by which AWS judges calls of SNS."""
    return str(call._get_param("TopicArn") or call._get_param("SubscriptionArn").rpartition(":")[0])


@pytest.fixture
def enforced(setup: Setup, rekognition_url: str, monkeypatch: pytest.MonkeyPatch):
    """The lane in its own role, taken by a user with the host's policy; moto asks for permissions, but Rekognition."""
    iam = setup.client("iam")
    iam.create_user(UserName=setup.name)
    iam.attach_user_policy(UserName=setup.name, PolicyArn=setup.outputs["HostPolicyArn"])
    key = iam.create_access_key(UserName=setup.name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    role = setup.outputs["RoleArn"].rpartition("/")[2]
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = as_moto_says(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    trust["Statement"][0]["Principal"]["AWS"] = f"arn:aws:iam::123456789012:user/{setup.name}"
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
    monkeypatch.setattr(SNSResponse, "_determine_resource", topic_of, raising=False)  # moto does not look at topics
    setup.lane["endpoint_url"] = setup.moto_url
    setup.lane["endpoints.rekognition"] = rekognition_url
    before = told(f"{setup.moto_url}/moto-api/reset-auth", "0")["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"]
    yield setup
    told(f"{setup.moto_url}/moto-api/reset-auth", str(before))


def test_what_the_stack_grants_suffices(enforced: Setup):
    """Nothing is a fault, and nothing but quotas, which moto does not know of Rekognition, is left open."""
    findings = enforced.examine(enforced.source)
    assert faults(findings) == []
    assert not_checked(findings) == {"lane main, quotas"}
