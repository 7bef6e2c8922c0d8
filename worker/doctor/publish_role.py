"""The role by which Rekognition publishes: whether there is one, and Rekognition may take it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from worker.doctor.examined import Examined, unanswered
from worker.doctor.findings import Finding, fault, fine, not_checked
from worker.doctor.policies import Decision, Policy, Request, decide, policy_of
from worker.errors import AwsError

_MISSING = frozenset({"NoSuchEntity", "NoSuchEntityException"})


class Role(Struct, frozen=True):
    """A role's trust policy, None for one that cannot be read, and whether a boundary limits it."""

    arn: str
    trust: Policy | None
    has_boundary: bool


async def look(lane: Examined) -> Role | AwsError:
    """Read the role."""
    return await lane.ask("iam", lambda client: _role(client, lane.config.publish_role_arn))


async def _role(client: Any, arn: str) -> Role:
    found = (await client.get_role(RoleName=arn.rpartition("/")[2]))["Role"]
    trust = policy_of(found.get("AssumeRolePolicyDocument"))
    return Role(str(found["Arn"]), trust, has_boundary="PermissionsBoundary" in found)


def judge(lane: Examined, seen: Role | AwsError) -> Iterator[Finding]:
    """Whether there is such a role, in the lane's account, that Rekognition may take on this account's errands."""
    about, arn = lane.about("publish role"), lane.config.publish_role_arn
    mend = f"write a role of account {lane.account_id} in lanes.{lane.name}.publish_role_arn"
    if (owner := arn.split(":")[4]) != lane.account_id:
        yield fault(about, f"{arn} is of account {owner}, the lane of {lane.account_id}", mend)
    elif isinstance(seen, AwsError) and seen.code in _MISSING:
        yield fault(about, f"there is no role {arn}", f"make it, or {mend}")
    elif isinstance(seen, AwsError):
        yield unanswered(about, seen, "iam:GetRole")
    elif seen.arn != arn:
        yield fault(about, f"there is no role {arn}; {seen.arn} is another", f"write that one, or {mend}")
    else:
        yield _judge_trust(lane, seen)


def _judge_trust(lane: Examined, role: Role) -> Finding:
    about = lane.about("publish role")
    context = {"aws:sourceaccount": lane.account_id, "sts:externalid": None}
    request = Request("sts:AssumeRole", None, "rekognition.amazonaws.com", context)
    decision = decide([role.trust], request)
    if decision is Decision.ALLOWED:
        return fine(about, "Rekognition may take it")
    if decision is Decision.OPEN:
        return not_checked(about, "its trust policy says more than is understood here")
    said = f"its trust policy does not let Rekognition take it for account {lane.account_id}: no notice is sent"
    return fault(about, said, "give it deploy/aws/publish-role-trust.json")
