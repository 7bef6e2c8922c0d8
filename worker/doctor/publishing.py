"""Whether the publish role may publish to the topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from worker.doctor.examined import Examined, unanswered
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.doctor.policies import Decision, Policy, Request, decide, policy_of
from worker.doctor.publish_role import Role
from worker.errors import AwsError

MANAGED = "AmazonRekognitionServiceRole"
MANAGED_PREFIX = "AmazonRekognition"  # of the names of topics that the managed policy is about
AWS_OWN_KEY = "alias/aws/sns"
_READING = "iam:ListRolePolicies, GetRolePolicy, ListAttachedRolePolicies, GetPolicy and GetPolicyVersion"


class Grants(Struct, frozen=True):
    """Every policy of a role, None for one that cannot be read, and the names of those that are managed."""

    policies: list[Policy | None]
    managed: list[str]


async def look(lane: Examined) -> Grants | AwsError:
    """Read the role's policies."""
    name = lane.config.publish_role_arn.rpartition("/")[2]
    return await lane.ask("iam", lambda client: _grants(client, name))


async def _grants(client: Any, name: str) -> Grants:
    own = (await client.list_role_policies(RoleName=name))["PolicyNames"]
    attached = (await client.list_attached_role_policies(RoleName=name))["AttachedPolicies"]
    documents = [(await client.get_role_policy(RoleName=name, PolicyName=p))["PolicyDocument"] for p in own]
    documents += [await _document(client, policy["PolicyArn"]) for policy in attached]
    return Grants([policy_of(document) for document in documents], [policy["PolicyName"] for policy in attached])


async def _document(client: Any, arn: str) -> Any:
    version = (await client.get_policy(PolicyArn=arn))["Policy"]["DefaultVersionId"]
    return (await client.get_policy_version(PolicyArn=arn, VersionId=version))["PolicyVersion"]["Document"]


def judge(
    lane: Examined, role: Role | AwsError, grants: Grants | AwsError, topic: Mapping[str, str] | AwsError
) -> Finding:
    """One of the role's policies or the topic's has to allow it, and none may forbid it."""
    about, arn = lane.about("publishing"), lane.config.sns_topic_arn
    by_role, by_topic = _by_role(lane, grants), _by_topic(lane, topic)
    if by_role is Decision.DENIED:
        said = f"a policy of the publish role forbids it to publish to {arn}"
        return fault(about, said, "remove that statement; deploy/aws/publish-role-policy.json is all that it needs")
    if by_topic is Decision.DENIED:
        said = f"the topic's policy forbids the publish role to publish to {arn}"
        return fault(about, said, "give the topic deploy/aws/topic-policy.json")
    if by_role is by_topic is Decision.NOT_ALLOWED:
        return fault(about, _lacking(arn, grants), "give the publish role deploy/aws/publish-role-policy.json")
    if Decision.OPEN in (by_role, by_topic):
        return _open(about, grants, topic)
    caveat = _caveat(role, topic)
    return not_checked(about, caveat) if caveat else fine(about, "the publish role may publish to the topic")


def _by_role(lane: Examined, grants: Grants | AwsError) -> Decision:
    if isinstance(grants, AwsError):
        return Decision.OPEN
    return decide(grants.policies, Request("sns:Publish", lane.config.sns_topic_arn, None, _context(lane)))


def _by_topic(lane: Examined, topic: Mapping[str, str] | AwsError) -> Decision:
    if isinstance(topic, AwsError):
        return Decision.OPEN
    role = lane.config.publish_role_arn
    request = Request("sns:Publish", lane.config.sns_topic_arn, role, _context(lane))
    return decide([policy_of(topic.get("Policy"))], request)


def _context(lane: Examined) -> dict[str, str | None]:
    account = lane.account_id
    return {
        "aws:principalarn": lane.config.publish_role_arn,
        "aws:principalaccount": account,
        "aws:sourceowner": account,
        "aws:securetransport": "true",
    }


def _lacking(arn: str, grants: Grants | AwsError) -> str:
    name = arn.rpartition(":")[2]
    if not isinstance(grants, AwsError) and MANAGED in grants.managed and not name.startswith(MANAGED_PREFIX):
        return f"{MANAGED} is about topics whose names begin with {MANAGED_PREFIX}, and this one is {name}"
    return f"nothing lets the publish role publish to {arn}"


def _open(about: str, grants: Grants | AwsError, topic: Mapping[str, str] | AwsError) -> Finding:
    if isinstance(grants, AwsError):
        return unanswered(about, grants, _READING)
    if isinstance(topic, AwsError):
        return unanswered(about, topic, "sns:GetTopicAttributes")
    return not_checked(about, "the policies say more than is understood here")


def _caveat(role: Role | AwsError, topic: Mapping[str, str] | AwsError) -> str | None:
    """What may stand against it that is not looked at."""
    if not isinstance(role, AwsError) and role.has_boundary:
        return "the publish role has a permissions boundary, which is not looked at"
    key = "" if isinstance(topic, AwsError) else topic.get("KmsMasterKeyId", "")
    if key and not key.endswith(AWS_OWN_KEY):
        return f"the topic is encrypted with {key}: the publish role needs kms:GenerateDataKey and kms:Decrypt on it"
    return None
