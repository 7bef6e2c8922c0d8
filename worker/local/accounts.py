"""The made-up AWS accounts of lanes that are served locally: one account for each lane."""

from __future__ import annotations

import hashlib

from worker.config import Lane

ACCESS_KEY_PREFIX = "LOCAL"
DEFAULT_ACCOUNT = "123456789012"
TOPIC_PREFIX = "AmazonRekognition-"
_ACCOUNT_DIGITS = 12


def account_of(lane_name: str) -> str:
    """The lane's account id: 12 digits, the same for the same name on every machine."""
    digest = hashlib.sha256(lane_name.encode()).digest()
    return f"{int.from_bytes(digest) % 10**_ACCOUNT_DIGITS:0{_ACCOUNT_DIGITS}d}"


def access_key_of(account: str) -> str:
    """The access key id by which the service knows the account; any secret goes with it."""
    return ACCESS_KEY_PREFIX + account


def account_of_access_key(access_key_id: str) -> str:
    """The account that an access key id names; keys that are not the service's own share one account."""
    account = access_key_id.removeprefix(ACCESS_KEY_PREFIX)
    is_ours = account != access_key_id and len(account) == _ACCOUNT_DIGITS and account.isascii() and account.isdigit()
    return account if is_ours else DEFAULT_ACCOUNT


def local_lane(name: str, lane: Lane, service_url: str) -> Lane:
    """The lane as the service at `service_url` serves it: with a queue, a topic and a role of its own account."""
    account = account_of(name)
    return lane.model_copy(
        update={
            "endpoint_url": service_url,
            "queue_url": f"{service_url}/{account}/{name}",
            "sns_topic_arn": f"arn:aws:sns:{lane.region}:{account}:{TOPIC_PREFIX}{name}",
            "publish_role_arn": f"arn:aws:iam::{account}:role/{TOPIC_PREFIX}publish",
        }
    )
