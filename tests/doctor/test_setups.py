"""`doctor` gives a sound setup a clean bill, and names the fault of a broken one, and only that one."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.setup import KEY, Setup, faults, not_checked
from worker.aws.notices import PATIENT_RECEIVES

DEPLOYED = Path(__file__).parents[2] / "deploy" / "aws"


def policy(*statements: dict[str, Any]) -> str:
    """A policy as AWS takes it."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def expired_token(setup: Setup) -> None:
    setup.refuse("GetCallerIdentity", code="ExpiredToken", message="The security token is expired")


def unknown_key(setup: Setup) -> None:
    setup.refuse("AssumeRole", code="InvalidClientTokenId", message="The security token is invalid")


def role_that_cannot_be_assumed(setup: Setup) -> None:
    setup.refuse("AssumeRole", message="not authorized to perform: sts:AssumeRole")


def profile_that_is_not_there(setup: Setup) -> None:
    setup.lane["profile"] = "moderation"


def wrong_clock(setup: Setup) -> None:
    """As AWS treats what was signed an hour ago."""
    setup.front.ahead_seconds = 3600
    setup.refuse("AssumeRole", code="SignatureDoesNotMatch", message="Signature expired: now earlier than")


def clock_that_is_off_a_little(setup: Setup) -> None:
    setup.front.ahead_seconds = -200


def endpoint_that_does_not_answer(setup: Setup) -> None:
    setup.lane["endpoints.rekognition"] = "http://127.0.0.1:1"


def endpoint_that_is_not_rekognition(setup: Setup) -> None:
    setup.refuse("StartContentModeration", code="", message="", status=200)


def no_permission_to_read(setup: Setup) -> None:
    words = "User is not authorized to perform: rekognition:GetContentModeration"
    setup.refuse("GetContentModeration", code="AccessDeniedException", message=words, status=400)


def no_permission_to_moderate(setup: Setup) -> None:
    setup.refuse("StartContentModeration", "GetContentModeration", code="AccessDeniedException", status=400)


def role_that_may_not_be_passed(setup: Setup) -> None:
    words = f"User is not authorized to perform: iam:PassRole on resource: {setup.outputs['PublishRoleArn']}"
    setup.refuse("StartContentModeration", code="AccessDeniedException", message=words, status=400)


def channel_that_rekognition_refuses(setup: Setup) -> None:
    words = "Request has invalid parameters"
    setup.refuse("StartContentModeration", code="InvalidParameterException", message=words, status=400)


def queue_that_is_not_there(setup: Setup) -> None:
    setup.client("sqs").delete_queue(QueueUrl=setup.outputs["QueueUrl"])


def queue_of_somebody_else(setup: Setup) -> None:
    """One that is there, and hears another topic."""
    url = setup.client("sqs").create_queue(
        QueueName=f"{setup.name}-theirs", Attributes={"MessageRetentionPeriod": "1209600"}
    )["QueueUrl"]
    setup.lane["queue_url"] = url


def no_permission_to_delete(setup: Setup) -> None:
    setup.refuse("DeleteMessageBatch", code="AccessDeniedException", status=400)


def no_permission_to_receive(setup: Setup) -> None:
    setup.refuse("ReceiveMessage", code="AccessDeniedException", status=400)


def messages_of_others(setup: Setup) -> None:
    setup.client("sqs").send_message(QueueUrl=setup.outputs["QueueUrl"], MessageBody='{"Type": "Invoice"}')


def messages_that_are_kept_too_short(setup: Setup) -> None:
    setup.set_queue(MessageRetentionPeriod="345600")


def messages_that_are_held_back(setup: Setup) -> None:
    setup.set_queue(DelaySeconds="60")


def dead_letters_too_soon(setup: Setup) -> None:
    dead = f"arn:aws:sqs:us-east-1:123456789012:{setup.name}-dead"
    setup.set_queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": "3"}))


def messages_that_are_too_short(setup: Setup) -> None:
    setup.set_queue(MaximumMessageSize="1024")


def key_of_sqs(setup: Setup) -> None:
    setup.set_queue(KmsMasterKeyId="alias/aws/sqs", SqsManagedSseEnabled="false")


def queue_of_arrivals_that_is_not_there(setup: Setup) -> None:
    setup.lane["arrivals.queue_url"] = f"{setup.lane['queue_url']}-no-more"


def queue_of_arrivals_with_other_messages(setup: Setup) -> None:
    setup.client("sqs").send_message(QueueUrl=uploads(setup), MessageBody="no JSON")


def uploads(setup: Setup, **attributes: str) -> str:
    """The URL of a queue of arrivals as deploy/aws has it, but for these attributes."""
    url = setup.client("sqs").create_queue(QueueName=f"{setup.name}-uploads")["QueueUrl"]
    policy = (DEPLOYED / "arrivals-queue-policy.json").read_text()
    policy = policy.replace("moderation-arrivals", f"{setup.name}-uploads")
    given = {"Policy": policy, "MessageRetentionPeriod": "1209600"} | attributes
    setup.client("sqs").set_queue_attributes(QueueUrl=url, Attributes=given)
    setup.lane["arrivals.queue_url"] = url
    return str(url)


def arrivals_that_are_soon_forgotten(setup: Setup) -> None:
    uploads(setup, MessageRetentionPeriod="86400")


def arrivals_that_are_too_short(setup: Setup) -> None:
    uploads(setup, MaximumMessageSize="1024")


def arrivals_under_the_key_of_sqs(setup: Setup) -> None:
    uploads(setup, KmsMasterKeyId="alias/aws/sqs")


def arrivals_that_nobody_may_send(setup: Setup) -> None:
    uploads(setup, Policy=json.dumps({"Version": "2012-10-17", "Statement": []}))


def arrivals_that_are_denied_to_all_but_the_bucket(setup: Setup) -> None:
    """As deploy/aws has it, without what lets the bucket in."""
    text = (DEPLOYED / "arrivals-queue-policy.json").read_text()
    policy = json.loads(text.replace("moderation-arrivals", f"{setup.name}-uploads"))
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Effect"] == "Deny"]
    uploads(setup, Policy=json.dumps(policy))


def no_permission_to_hear_of_arrivals(setup: Setup) -> None:
    uploads(setup)
    setup.refuse("ReceiveMessage", code="AccessDeniedException", status=400, about=f"{setup.name}-uploads")


def topic_that_is_not_there(setup: Setup) -> None:
    setup.lane["sns_topic_arn"] += "-no-more"


def topic_of_another_account(setup: Setup) -> None:
    setup.lane["sns_topic_arn"] = setup.lane["sns_topic_arn"].replace("123456789012", "210987654321")


def no_subscription(setup: Setup) -> None:
    setup.client("sns").unsubscribe(SubscriptionArn=setup.subscription_arn())


def subscription_with_a_filter(setup: Setup) -> None:
    setup.client("sns").set_subscription_attributes(
        SubscriptionArn=setup.subscription_arn(), AttributeName="FilterPolicy", AttributeValue='{"store": ["one"]}'
    )


def queue_without_a_policy(setup: Setup) -> None:
    setup.set_queue(Policy="")


def queue_for_another_topic(setup: Setup) -> None:
    """As it was before the topic got another name."""
    setup.set_queue(Policy=setup.queue_policy().replace("AmazonRekognition-", "AmazonRekognition-old-"))


def publish_role_that_is_not_there(setup: Setup) -> None:
    """The worker's own policy then names another role too, so that AWS does not let this one be passed."""
    setup.lane["publish_role_arn"] += "-no-more"
    role_that_may_not_be_passed(setup)


def publish_role_of_another_account(setup: Setup) -> None:
    setup.lane["publish_role_arn"] = setup.lane["publish_role_arn"].replace("123456789012", "210987654321")


def trust(setup: Setup, **changes: Any) -> None:
    statement = {"Effect": "Allow", "Principal": {"Service": "rekognition.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = policy(statement | changes)
    setup.client("iam").update_assume_role_policy(RoleName=setup.publish_role, PolicyDocument=document)


def role_that_rekognition_may_not_take(setup: Setup) -> None:
    trust(setup, Principal={"Service": "ec2.amazonaws.com"})


def role_for_another_account(setup: Setup) -> None:
    trust(setup, Condition={"StringEquals": {"aws:SourceAccount": "210987654321"}})


def role_that_may_not_publish(setup: Setup) -> None:
    """Its own policy is gone, and the topic's lets in whoever the account lets."""
    setup.client("iam").delete_role_policy(RoleName=setup.publish_role, PolicyName="publish")
    setup.client("sns").set_topic_attributes(
        TopicArn=setup.outputs["SnsTopicArn"], AttributeName="Policy", AttributeValue=policy()
    )


def role_for_topics_of_other_names(setup: Setup) -> None:
    """AWS's own policy for such roles, and a topic whose name is not what it is about."""
    iam, sns = setup.client("iam"), setup.client("sns")
    iam.delete_role_policy(RoleName=setup.publish_role, PolicyName="publish")
    statement = {"Effect": "Allow", "Action": "sns:Publish", "Resource": "arn:aws:sns:*:*:AmazonRekognition*"}
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_policy(
            PolicyName="AmazonRekognitionServiceRole", Path="/service-role/", PolicyDocument=policy(statement)
        )
    arn = "arn:aws:iam::123456789012:policy/service-role/AmazonRekognitionServiceRole"
    iam.attach_role_policy(RoleName=setup.publish_role, PolicyArn=arn)
    topic = sns.create_topic(Name=setup.name)["TopicArn"]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy())
    queue = f"arn:aws:sqs:us-east-1:123456789012:{setup.name}"
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    sending = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    condition = {"ArnEquals": {"aws:SourceArn": topic}}
    setup.set_queue(Policy=policy(sending | {"Resource": queue, "Condition": condition}))
    setup.lane["sns_topic_arn"] = topic


def topic_that_forbids_the_role(setup: Setup) -> None:
    topic = setup.outputs["SnsTopicArn"]
    denial = {"Effect": "Deny", "Principal": "*", "Action": "sns:*", "Resource": topic}
    setup.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy(denial))


def bucket_that_is_not_there(setup: Setup) -> None:
    setup.bucket += "-no-more"


def bucket_of_another_region(setup: Setup) -> None:
    setup.bucket += "-ireland"
    setup.client("s3").create_bucket(Bucket=setup.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})


def no_permission_to_list(setup: Setup) -> None:
    setup.refuse("ListObjectsV2")


def no_permission_to_look_at_objects(setup: Setup) -> None:
    setup.refuse("HeadObject")


def no_permission_for_versions(setup: Setup) -> None:
    s3 = setup.client("s3")
    s3.put_bucket_versioning(Bucket=setup.bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=setup.bucket, Key=KEY, Body=b"x")
    setup.refuse("HeadVersion")


def no_permission_for_the_key(setup: Setup) -> None:
    key = setup.client("kms").create_key()["KeyMetadata"]["Arn"]
    setup.client("s3").put_object(
        Bucket=setup.bucket, Key=KEY, Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key
    )
    setup.refuse("GetObject", message="User is not authorized to perform: kms:Decrypt")


def quota_that_is_lower(setup: Setup) -> None:
    setup.lane.update(quotas="configured", concurrent_jobs=50, get_per_second=5.0)


def two_lanes_of_one_account(setup: Setup) -> None:
    """With a channel of its own each, in the same region."""
    Setup(f"{setup.name}-b", setup.moto_url, setup.front, setup.desk, lane="second")


BROKEN: dict[Callable[[Setup], None], tuple[str, str, str]] = {
    expired_token: ("credentials", "they have expired", "renew"),
    unknown_key: ("credentials", "AWS refuses them (InvalidClientTokenId", "write those of"),
    role_that_cannot_be_assumed: ("credentials", "cannot be assumed", "trust policy"),
    profile_that_is_not_there: ("credentials", "no profile 'moderation'", "write one that they have"),
    wrong_clock: ("clock", "s behind AWS", "NTP"),
    clock_that_is_off_a_little: ("clock", "s ahead of AWS", "NTP"),
    endpoint_that_does_not_answer: ("rekognition", "http://127.0.0.1:1 does not answer", "endpoints"),
    endpoint_that_is_not_rekognition: ("rekognition", "this is not Rekognition", "endpoint"),
    no_permission_to_read: ("rekognition", "rekognition:GetContentModeration not allowed", "worker-policy.json"),
    no_permission_to_moderate: ("rekognition", "StartContentModeration and rekognition:Get", "worker-policy.json"),
    role_that_may_not_be_passed: ("rekognition", "may not be passed", "allow iam:PassRole"),
    channel_that_rekognition_refuses: ("rekognition", "InvalidParameterException", "sns_topic_arn"),
    queue_that_is_not_there: ("queue", "there is no queue", "lanes.main.queue_url"),
    queue_of_somebody_else: ("subscription", "is not subscribed", "aws sns subscribe"),
    no_permission_to_delete: ("queue", "sqs:DeleteMessage not allowed", "worker-policy.json"),
    no_permission_to_receive: ("queue", "sqs:ReceiveMessage not allowed", "worker-policy.json"),
    messages_of_others: ("queue", "1 of the messages in it are no notices", "a queue of the lane's own"),
    messages_that_are_kept_too_short: ("queue attributes", "kept for 4 days", "1209600"),
    messages_that_are_held_back: ("queue attributes", "held back for 60 s", "DelaySeconds"),
    dead_letters_too_soon: ("queue attributes", "received 3 times", "maxReceiveCount"),
    messages_that_are_too_short: ("queue attributes", "as long as a notice", "MaximumMessageSize"),
    key_of_sqs: ("queue attributes", "alias/aws/sqs", "SqsManagedSseEnabled"),
    queue_of_arrivals_that_is_not_there: ("arrivals", "there is no queue", "lanes.main.arrivals.queue_url"),
    queue_of_arrivals_with_other_messages: ("arrivals", "1 of the messages in it are no event", "a queue of its own"),
    no_permission_to_hear_of_arrivals: ("arrivals", "sqs:ReceiveMessage not allowed", "worker-policy-arrivals.json"),
    arrivals_that_are_soon_forgotten: ("arrivals attributes", "kept for 24 hours", "MessageRetentionPeriod to 1209600"),
    arrivals_that_are_too_short: ("arrivals attributes", "as long as an event notification", "MaximumMessageSize"),
    arrivals_under_the_key_of_sqs: ("arrivals attributes", "alias/aws/sqs", "SqsManagedSseEnabled"),
    arrivals_that_are_denied_to_all_but_the_bucket: ("arrivals policy", "neither S3 nor SNS", "queue-policy.json"),
    arrivals_that_nobody_may_send: ("arrivals policy", "neither S3 nor SNS", "arrivals-queue-policy.json"),
    topic_that_is_not_there: ("topic", "there is no topic", "lanes.main.sns_topic_arn"),
    topic_of_another_account: ("topic", "is of account 210987654321", "lanes.main.sns_topic_arn"),
    no_subscription: ("subscription", "is not subscribed", "aws sns subscribe"),
    subscription_with_a_filter: ("subscription", "a filter policy", "FilterPolicy"),
    queue_without_a_policy: ("queue policy", "does not let the topic", "queue-policy.json"),
    queue_for_another_topic: ("queue policy", "does not let the topic", "queue-policy.json"),
    publish_role_that_is_not_there: ("publish role", "there is no role", "lanes.main.publish_role_arn"),
    publish_role_of_another_account: ("publish role", "is of account 210987654321", "lanes.main.publish_role_arn"),
    role_that_rekognition_may_not_take: ("publish role", "trust policy", "publish-role-trust.json"),
    role_for_another_account: ("publish role", "trust policy", "publish-role-trust.json"),
    role_that_may_not_publish: ("publishing", "nothing lets the publish role", "publish-role-policy.json"),
    role_for_topics_of_other_names: ("publishing", "AmazonRekognitionServiceRole is about", "publish-role-policy.json"),
    topic_that_forbids_the_role: ("publishing", "the topic's policy forbids", "topic-policy.json"),
    bucket_that_is_not_there: ("", "there is no such bucket", "check its name"),
    bucket_of_another_region: ("", "it is in eu-west-1", "add a lane for eu-west-1"),
    no_permission_to_list: ("bucket", "s3:ListBucket is refused", "worker-policy-listing.json"),
    no_permission_to_look_at_objects: ("bucket", "s3:GetObject is refused", "worker-policy.json"),
    no_permission_for_versions: ("bucket", "s3:GetObjectVersion is refused", "worker-policy.json"),
    no_permission_for_the_key: ("bucket", "kms:Decrypt with arn:aws:kms:", "worker-policy-kms.json"),
    quota_that_is_lower: ("quotas", "concurrent_jobs is 50, and the account is granted 20", "concurrent_jobs = 20"),
    two_lanes_of_one_account: ("registration", "has the same account 123456789012 in us-east-1", "one of them"),
}
"""What breaks a setup -> the subject that is at fault, and parts of the sentence and of the remedy."""


def test_stack_has_a_clean_bill(setup: Setup, rekognition_url: str):
    """A lane that the template has made is fine in every respect, nothing is left unchecked, and nothing is bought."""
    findings = setup.examine(setup.source)
    assert [finding for finding in findings if finding["verdict"] != "fine"] == []
    with urllib.request.urlopen(f"{rekognition_url}/_ledger") as response:
        assert json.load(response)["paid"] == []


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_fault_is_named_and_no_other(setup: Setup, broken: Callable[[Setup], None]):
    """What is broken is told with what mends it, and nothing else is called a fault."""
    broken(setup)
    found = faults(setup.examine(setup.source))
    assert len(found) == 1, found
    [(subject, sentence, remedy)] = found
    named, said, mended = BROKEN[broken]
    assert named in subject
    assert said in sentence
    assert mended in remedy


def test_sound_queue_of_arrivals_has_no_fault(setup: Setup):
    """As deploy/aws has it; what only `doctor` may not see of it is no fault."""
    uploads(setup)
    findings = {finding["subject"]: finding["verdict"] for finding in setup.examine(setup.source)}
    about = ("arrivals", "arrivals attributes", "arrivals policy")
    assert [findings[f"lane main, {part}"] for part in about] == ["fine"] * 3
    assert "fault" not in findings.values()
    setup.refuse("GetQueueAttributes", about=f"{setup.name}-uploads")
    findings = {finding["subject"]: finding["verdict"] for finding in setup.examine(setup.source)}
    assert findings["lane main, arrivals attributes"] == "not checked"
    assert "fault" not in findings.values()


UNSEEN: dict[tuple[str, ...], set[str]] = {
    ("GetQueueAttributes", "GetTopicAttributes", "ListSubscriptionsByTopic", "GetRole", "GetServiceQuota"): {
        *("queue attributes", "topic", "subscription", "publish role", "publishing", "quotas"),
    },
    ("GetSubscriptionAttributes", "ListRolePolicies"): {"subscription", "publishing"},
}
"""Operations that only `doctor` asks for -> what cannot be told without them."""


@pytest.mark.parametrize("operations", UNSEEN, ids="-".join)
def test_what_only_doctor_may_not_see_is_no_fault(setup: Setup, operations: tuple[str, ...]):
    """The worker does without these permissions, so what they would show is left open."""
    setup.refuse(*operations)
    findings = setup.examine(setup.source)
    assert faults(findings) == []
    assert not_checked(findings) == {f"lane main, {part}" for part in UNSEEN[operations]}


def test_service_without_an_endpoint_is_not_asked(setup: Setup):
    """Where some services are redirected, nothing is sent to AWS's own address of another one."""
    del setup.lane["endpoint_url"]
    for service in ("rekognition", "sqs", "s3", "sts"):
        setup.lane[f"endpoints.{service}"] = setup.front.url
    findings = setup.examine(setup.source)
    assert faults(findings) == []
    told = [finding["sentence"] for finding in findings if finding["verdict"] == "not checked"]
    assert {sentence for sentence in told if sentence.startswith("lanes.main.endpoints.")} == {
        f"lanes.main.endpoints.{service} is not configured" for service in ("sns", "iam", "service_quotas")
    }


def test_address_without_sts_is_no_fault(setup: Setup):
    """Other programs that stand in for AWS need not have STS; the worker goes by the topic's account then."""
    setup.refuse("GetCallerIdentity", code="InvalidAction", message="Could not find operation", status=400)
    findings = setup.examine(setup.source)
    assert faults(findings) == []
    assert not_checked(findings) == {"lane main, credentials"}


@pytest.mark.parametrize(
    ("refusal", "verdict"),
    [
        ({"code": "LimitExceededException", "message": "20 open Jobs for User x Maximum limit: 20"}, "fine"),
        ({"code": "ProvisionedThroughputExceededException", "message": "Provisioned Rate exceeded."}, "not checked"),
    ],
)
def test_busy_account_is_no_fault(setup: Setup, refusal: dict[str, str], verdict: str):
    """Other jobs that run, and calls beyond the quota, are signs of work."""
    setup.refuse("StartContentModeration", **refusal, status=400)
    findings = {finding["subject"]: finding["verdict"] for finding in setup.examine(setup.source)}
    assert findings["lane main, rekognition"] == verdict
    assert "fault" not in findings.values()


def test_notice_of_an_unknown_job_is_strange_after_a_while(setup: Setup):
    """A job may be finished before its JobId is recorded; what nobody knows after five receives is somebody else's."""
    body = json.dumps({"JobId": "0" * 64, "Status": "SUCCEEDED", "API": "StartContentModeration"})
    setup.client("sqs").send_message(QueueUrl=setup.outputs["QueueUrl"], MessageBody=body)
    for _ in range(PATIENT_RECEIVES - 1):
        setup.client("sqs").receive_message(QueueUrl=setup.outputs["QueueUrl"], VisibilityTimeout=0)
    assert faults(setup.examine(setup.source)) == []
    [(_, sentence, _)] = faults(setup.examine(setup.source))
    assert "no notices of this lane's jobs" in sentence


def test_findings_are_told_in_a_table(setup: Setup):
    """Without --json each finding is a line, a fault has another one with what mends it, and the last line counts."""
    messages_that_are_held_back(setup)
    assert setup.desk.run("doctor", setup.source) == 1
    *lines, last = setup.desk.out.splitlines()
    assert last == "1 fault, 12 fine, 0 not checked"
    [place] = [number for number, line in enumerate(lines) if line.startswith("FAULT")]
    assert "lane main, queue attributes" in lines[place]
    assert lines[place + 1].strip() == "-> set its DelaySeconds to 0"


def test_buckets_of_a_manifest_are_looked_at(setup: Setup):
    """An object of each bucket that a manifest names, each bucket once."""
    manifest = setup.desk.file("videos.csv", f"{setup.bucket},{KEY}\n{setup.bucket}-no-more,{KEY}\n")
    findings = setup.examine(manifest, setup.source)
    assert [f["verdict"] for f in findings if f["subject"] == f"lane main, bucket {setup.bucket}"] == ["fine"]
    [(subject, sentence, _)] = faults(findings)
    assert (subject, sentence) == (f"bucket {setup.bucket}-no-more", "there is no such bucket")


@pytest.mark.parametrize("source", [".", "-", "https://example.com/a.csv", "inventory:s3://reports/manifest.json"])
def test_source_that_is_none_is_refused(setup: Setup, source: str):
    """A wrong command line is no finding."""
    assert setup.desk.run("doctor", source) == 2
    assert setup.desk.err.startswith("modworker: ")
