"""Policies are read as AWS reads them, and what is not understood is left open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.doctor.policies import Decision, Request, decide, policy_of

QUEUE = "arn:aws:sqs:us-east-1:123456789012:moderation"
TOPIC = "arn:aws:sns:us-east-1:123456789012:AmazonRekognitionModeration"
ROLE = "arn:aws:iam::123456789012:role/rekognition-publish"
SENDING = Request("sqs:SendMessage", QUEUE, "sns.amazonaws.com", {"aws:sourcearn": TOPIC, "sts:externalid": None})
PUBLISHING = Request("sns:Publish", TOPIC, ROLE, {"aws:sourceowner": "123456789012"})
ALLOW = {
    "Effect": "Allow",
    "Principal": {"Service": "sns.amazonaws.com"},
    "Action": "sqs:SendMessage",
    "Resource": QUEUE,
}
ALLOWED, DENIED, NOT_ALLOWED, OPEN = Decision.ALLOWED, Decision.DENIED, Decision.NOT_ALLOWED, Decision.OPEN


def on(operator: str, key: str, value: Any) -> dict[str, Any]:
    return {"Condition": {operator: {key: value}}}


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({}, ALLOWED),
        ({"Effect": "Deny"}, DENIED),
        ({"Action": "SQS:sendmessage"}, ALLOWED),
        ({"Action": ["sqs:ReceiveMessage", "sqs:Send*"]}, ALLOWED),
        ({"Action": "sqs:ReceiveMessage"}, NOT_ALLOWED),
        ({"Resource": "arn:aws:sqs:*:123456789012:moder?tion"}, ALLOWED),
        ({"Resource": f"{QUEUE}-dead"}, NOT_ALLOWED),
        ({"Resource": QUEUE.upper()}, NOT_ALLOWED),
        ({"Resource": "arn:aws:sqs:us-east-1:123456789012:[moderation]"}, NOT_ALLOWED),
        ({"Principal": "*"}, ALLOWED),
        ({"Principal": {"AWS": "*"}}, ALLOWED),
        ({"Principal": {"Service": ["ec2.amazonaws.com", "sns.amazonaws.com"]}}, ALLOWED),
        ({"Principal": {"Service": "ec2.amazonaws.com"}}, NOT_ALLOWED),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, NOT_ALLOWED),
        (on("ArnEquals", "aws:SourceArn", TOPIC), ALLOWED),
        (on("ArnLike", "AWS:SOURCEARN", "arn:aws:sns:*:123456789012:*"), ALLOWED),
        (on("ArnEquals", "aws:SourceArn", [f"{TOPIC}-old", TOPIC]), ALLOWED),
        (on("ArnEquals", "aws:SourceArn", f"{TOPIC}-old"), NOT_ALLOWED),
        (on("StringNotEquals", "aws:SourceArn", TOPIC), NOT_ALLOWED),
        (on("StringNotEquals", "aws:SourceArn", [f"{TOPIC}-old", TOPIC]), NOT_ALLOWED),
        (on("StringNotLike", "aws:SourceArn", "arn:aws:s3:*"), ALLOWED),
        (on("StringEquals", "sts:ExternalId", "secret"), NOT_ALLOWED),
        (on("StringEqualsIfExists", "sts:ExternalId", "secret"), ALLOWED),
        (on("StringNotEquals", "sts:ExternalId", "secret"), ALLOWED),
        (on("StringEquals", "aws:SourceVpc", "vpc-1"), OPEN),
        (on("NumericLessThan", "aws:SourceArn", 5), OPEN),
        (on("ForAnyValue:StringEquals", "aws:SourceArn", TOPIC), OPEN),
        (on("StringEquals", "aws:SourceArn", "${aws:PrincipalTag/topic}"), OPEN),
        ({"Effect": "Deny"} | on("StringEquals", "aws:SourceVpc", "vpc-1"), NOT_ALLOWED),
    ],
)
def test_statement_means_what_aws_means(changes: dict[str, Any], decision: Decision):
    """Names, patterns, principals and conditions; a key that the request lacks meets only what is negated."""
    assert decide([policy_of({"Statement": [ALLOW | changes]})], SENDING) is decision


def test_elements_that_are_turned_round():
    """What is not named by NotAction and NotResource is meant; of NotPrincipal nothing is told."""
    other = {key: value for key, value in ALLOW.items() if key not in ("Action", "Resource")}
    assert (
        decide([policy_of({"Statement": [other | {"NotAction": "sns:*", "NotResource": TOPIC}]})], SENDING) is ALLOWED
    )
    assert (
        decide([policy_of({"Statement": [other | {"NotAction": "sqs:*", "NotResource": TOPIC}]})], SENDING)
        is NOT_ALLOWED
    )
    nobody = {key: value for key, value in ALLOW.items() if key != "Principal"} | {"NotPrincipal": {"AWS": ROLE}}
    assert decide([policy_of({"Statement": [nobody]})], SENDING) is OPEN


def test_one_denial_outweighs_whatever_allows():
    """Also one of another policy; one that cannot be understood leaves it open."""
    allows, denies = (policy_of({"Statement": ALLOW | {"Effect": effect}}) for effect in ("Allow", "Deny"))
    assert decide([allows, denies], SENDING) is DENIED
    assert decide([allows, None], SENDING) is OPEN
    may_deny = policy_of({"Statement": ALLOW | {"Effect": "Deny"} | on("StringEquals", "aws:SourceVpc", "vpc-1")})
    assert decide([allows, may_deny], SENDING) is OPEN
    assert decide([None, denies], SENDING) is DENIED
    assert decide([], SENDING) is NOT_ALLOWED


def test_account_that_is_named_leaves_it_to_its_own_policies():
    """A role of the account is neither let in nor kept out by that; one of another account is not meant."""
    statement = {"Effect": "Allow", "Action": "sns:Publish", "Resource": TOPIC}
    for account in ("123456789012", "arn:aws:iam::123456789012:root"):
        assert decide([policy_of({"Statement": [statement | {"Principal": {"AWS": account}}]})], PUBLISHING) is OPEN
    other = statement | {"Principal": {"AWS": "210987654321"}}
    assert decide([policy_of({"Statement": [other]})], PUBLISHING) is NOT_ALLOWED


def test_topics_own_default_lets_roles_of_the_account_publish():
    """As SNS makes it with every topic."""
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["SNS:Publish"], "Resource": TOPIC}
    condition = on("StringEquals", "AWS:SourceOwner", "123456789012")
    assert decide([policy_of(json.dumps({"Statement": [statement | condition]}))], PUBLISHING) is ALLOWED


@pytest.mark.parametrize("document", ["", "{", "[]", "{}", '{"Statement": 7}', None, 7, {"Statement": [{"Effect": 1}]}])
def test_what_is_no_policy_is_not_read(document: Any):
    """Whatever comes in a policy's place leaves it open."""
    assert policy_of(document) is None
