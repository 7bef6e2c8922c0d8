"""What Service Quotas grants an account in a region, of the operations that have quotas worth pacing."""

from __future__ import annotations

import math
from typing import Any

from botocore.exceptions import ClientError
from msgspec import Struct

from worker.aws.answers import translated
from worker.config import Lane
from worker.errors import UnreadableError

CODES = {"start_per_second": "L-E082B236", "get_per_second": "L-A33540CC", "concurrent_jobs": "L-A6079699"}
"""Key of a lane -> quota code of the service `rekognition`, as Service Quotas lists it."""

_NOT_RAISED = "NoSuchResourceException"


class Quotas(Struct, frozen=True):
    """Calls a second, and running jobs."""

    start_per_second: float
    get_per_second: float
    concurrent_jobs: float

    def within(self, lane: Lane) -> Lane:
        """The lane with these quotas, of which what was written in its configuration is a ceiling."""
        granted = {"start_per_second": self.start_per_second, "get_per_second": self.get_per_second}
        granted["concurrent_jobs"] = math.floor(self.concurrent_jobs)
        written = {key: getattr(lane, key) for key in granted if key in lane.model_fields_set}
        return lane.model_copy(update={key: min(value, written.get(key, value)) for key, value in granted.items()})


async def read_quotas(client: Any) -> Quotas:
    """Ask for each of them: its applied value, or the default where it was never raised.

    Raises:
        AwsError: if one cannot be had.

    """
    with translated():
        return Quotas(**{key: await _value(client, code) for key, code in CODES.items()})


async def _value(client: Any, code: str) -> float:
    quota = {"ServiceCode": "rekognition", "QuotaCode": code}
    try:
        answer = await client.get_service_quota(**quota)
    except ClientError as error:
        if error.response["Error"]["Code"] != _NOT_RAISED:
            raise
        answer = await client.get_aws_default_service_quota(**quota)
    value = float(answer["Quota"]["Value"])
    if not 1 <= value < math.inf:
        raise UnreadableError(f"quota {code} is {value}")
    return value
