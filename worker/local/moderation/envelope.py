"""The notice as SNS delivers it to a queue that did not ask for raw messages."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime

import msgspec

_NO_SIGNATURE = base64.b64encode(b"not signed").decode()


def envelope_of(topic_arn: str, body: str, sent_at_ms: int) -> str:
    """The envelope has a signature's members, whose values say that it is none.

    Form: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    """
    region = topic_arn.split(":")[3]
    sent_at = datetime.fromtimestamp(sent_at_ms / 1000, UTC)
    envelope = {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": topic_arn,
        "Message": body,
        "Timestamp": sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SignatureVersion": "1",
        "Signature": _NO_SIGNATURE,
        "SigningCertURL": f"https://sns.{region}.invalid/SimpleNotificationService-none.pem",
        "UnsubscribeURL": f"https://sns.{region}.invalid/?Action=Unsubscribe&SubscriptionArn={topic_arn}:none",
    }
    return msgspec.json.encode(envelope).decode()
