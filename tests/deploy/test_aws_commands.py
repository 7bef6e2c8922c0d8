"""The commands of deploy/aws/README.md, run as they stand by the aws program, make what the files say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.aws_cli.program import installed
from tests.deploy.test_aws_permissions import HOST, ROLE, reset
from tests.deploy.test_aws_policies import ATTRIBUTES, BUCKET, FOLDER, POLICIES, QUEUE_ARN, REGION, ROOT, TOPIC_ARN
from tests.system.test_moto import client, moto_url
from worker.aws.arrivals import read_arrivals

__all__ = ["moto_url"]

COMMANDS_SECONDS = 180
FORGOTTEN_BY_MOTO = {"RedriveAllowPolicy"}
PUBLISHER = "rekognition-publish"
ROLES = {
    PUBLISHER: {"publish": "publish-role-policy.json"},
    ROLE: {
        "work": "worker-policy.json",
        "listing": "worker-policy-listing.json",
        "inventory": "worker-policy-inventory.json",
        "arrivals": "worker-policy-arrivals.json",
        "kms": "worker-policy-kms.json",
        "quotas": "worker-policy-quotas.json",
        "doctor": "worker-policy-doctor.json",
    },
    HOST: {"become-the-worker": "host-policy.json"},
}
QUEUES = {
    "moderation": "queue-attributes.json",
    "moderation-dead": "dead-letter-attributes.json",
    "moderation-arrivals": "arrivals-queue-attributes.json",
}
TRUSTS = {PUBLISHER: "publish-role-trust.json", ROLE: "worker-role-trust.json"}


def commands() -> str:
    """What README.md tells the operator to run, in its order."""
    return "".join(re.findall(r"^```sh\n(.*?)^```", (FOLDER / "README.md").read_text(), re.DOTALL | re.MULTILINE))


def run(script: str, url: str, home: Path, folder: Path = FOLDER) -> None:
    """Run a shell script in the files' folder, with the aws program and nothing else of this machine's set up."""
    program = installed(ROOT / ".venv" / "aws", os.environ)
    environment = {
        "HOME": str(home),
        "PATH": f"{program.parent}:{os.defpath}",
        "LC_ALL": "C.UTF-8",
        "PYTHONWARNINGS": "ignore",  # a newer Python may warn while it compiles the program for the first time
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
    }
    command = ["bash", "-e", "-o", "pipefail", "-c", f'aws() {{ command aws --endpoint-url {url} "$@"; }}\n{script}']
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=COMMANDS_SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(shutil.which("jq") is None, reason="one of the commands needs jq")
def test_the_commands_make_what_the_files_say(moto_url: str, tmp_path: Path):
    """Queues, topic and roles are afterwards as the files have them, and the topic's messages reach the queue."""
    reset(moto_url)
    iam, sns, sqs = (client(service, moto_url) for service in ("iam", "sns", "sqs"))
    iam.create_role(RoleName=HOST, AssumeRolePolicyDocument="{}")
    client("s3", moto_url).create_bucket(Bucket=BUCKET)
    run(commands(), moto_url, tmp_path)
    for role, files in ROLES.items():
        granted = {p: iam.get_role_policy(RoleName=role, PolicyName=p)["PolicyDocument"] for p in files}
        assert granted == {policy: POLICIES[file] for policy, file in files.items()}
    for role, file in TRUSTS.items():
        assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"] == POLICIES[file]
    topic = sns.get_topic_attributes(TopicArn=TOPIC_ARN)["Attributes"]
    assert json.loads(topic["Policy"]) == POLICIES["topic-policy.json"]
    for name, file in QUEUES.items():
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        wanted = {key: text for key, text in ATTRIBUTES[file].items() if key not in FORGOTTEN_BY_MOTO}
        assert as_read({key: found[key] for key in wanted}) == as_read(wanted)
        if name == "moderation-arrivals":
            assert json.loads(found["Policy"]) == POLICIES["arrivals-queue-policy.json"]
            client("s3", moto_url).put_object(Bucket=BUCKET, Key="new video.mp4", Body=b"x")
            bodies = [message["Body"] for message in sqs.receive_message(QueueUrl=url)["Messages"]]
            bodies += [message["Body"] for message in sqs.receive_message(QueueUrl=url).get("Messages", [])]
            [arrived] = [named for body in bodies for named in read_arrivals(body).objects]
            assert (arrived.bucket, arrived.key) == (BUCKET, "new video.mp4")
        if name == "moderation":
            assert json.loads(found["Policy"]) == POLICIES["queue-policy.json"]
            assert found["QueueArn"] == QUEUE_ARN
            sns.publish(TopicArn=TOPIC_ARN, Message="heard")
            [message] = sqs.receive_message(QueueUrl=url)["Messages"]
            assert json.loads(message["Body"])["Message"] == "heard"


def as_read(attributes: dict[str, str]) -> dict[str, object]:
    """Attributes whose texts are compared by what they say: numbers within a policy may be texts."""
    return {key: json.loads(text, parse_int=str) for key, text in attributes.items()}
