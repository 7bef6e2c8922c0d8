"""What tells one queue from another: its account, its region and its name."""

from __future__ import annotations

import re

import msgspec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ARN = re.compile(r"arn:aws[a-z-]*:sqs:([a-z0-9-]+):(\d{12}):([A-Za-z0-9_-]{1,80})")


class QueueName(msgspec.Struct, frozen=True):
    """A queue's full name."""

    account: str
    region: str
    name: str

    @property
    def key(self) -> str:
        """What the queue and its messages are kept under: `account/region/name`."""
        return f"{self.account}/{self.region}/{self.name}"

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        return f"arn:aws:sqs:{self.region}:{self.account}:{self.name}"


def name_of_key(key: str) -> QueueName:
    """The queue that is kept under the key."""
    return QueueName(*key.split("/"))


def name_of_arn(arn: str) -> QueueName | None:
    """The queue of an ARN; None for what is no standard queue's."""
    parts = _ARN.fullmatch(arn)
    return QueueName(account=parts[2], region=parts[1], name=parts[3]) if parts else None


def is_queue_name(name: str) -> bool:
    """Whether a standard queue may have the name within its account and region."""
    return _NAME.fullmatch(name) is not None
