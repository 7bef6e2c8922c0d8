"""`aws sqs` with a queue of the caller's own."""

from __future__ import annotations

from tests.aws_cli.conftest import LANE
from tests.aws_cli.program import Aws
from worker.local.accounts import account_of


def test_a_queue_is_made_and_used(aws: Aws) -> None:
    """A queue that was made with attributes has them, and counts the message that was sent to it."""
    made = ("--queue-name", "of-the-shell", "--attributes", "VisibilityTimeout=60")
    url = aws.json("sqs", "create-queue", *made)["QueueUrl"]
    sent = aws.json("sqs", "send-message", "--queue-url", url, "--message-body", "Grüße 🎬")
    known = aws.json("sqs", "get-queue-attributes", "--queue-url", url, "--attribute-names", "All")["Attributes"]

    assert url.endswith(f"/{account_of(LANE)}/of-the-shell")
    assert sent["MD5OfMessageBody"] == "5bcbe0075ddc6d14f2e222e91da03b42"  # by md5sum
    assert known["QueueArn"].endswith(f":{account_of(LANE)}:of-the-shell")
    assert (known["VisibilityTimeout"], known["ApproximateNumberOfMessages"]) == ("60", "1")
