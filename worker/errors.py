"""The tree of errors, and the verdict on each answer that AWS may give instead of a result.

ModworkerError
├── UsageError            exit 2: a wrong command line, source or name
│   └── ConfigError       exit 2: a wrong config file or environment
├── DatabaseError         exit 2: unreachable, too old, too new, or of another deployment
├── ClusterError          exit 3: the Ray cluster was lost, or a node of it does not do its part
└── AwsError              one refused or lost call, with its verdict
    └── UnreadableError   a call whose answer is none that AWS documents
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ModworkerError(Exception):
    """Base of everything that this program raises on purpose; its text is one sentence for the operator."""


class UsageError(ModworkerError):
    """A command, source or name that cannot be carried out as given."""


@dataclass(frozen=True)
class Mistake:
    """One mistake of a configuration: where it is, and what to write instead."""

    path: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}: {self.advice}"


class ConfigError(UsageError):
    """Every mistake of a configuration at once."""

    def __init__(self, source: str, mistakes: list[Mistake]) -> None:
        self.mistakes = mistakes
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n".join([f"{source} has {count}:", *(f"  {mistake}" for mistake in mistakes)]))


class DatabaseError(ModworkerError):
    """The database cannot serve this program as it is."""


class ClusterError(ModworkerError):
    """The Ray cluster does not serve any more; what was under way is done again by whoever comes next."""


class Verdict(Enum):
    """What a failed call means for the lane and for the job."""

    SLOW_DOWN = "slow_down"  # the pace is too high: same request, later, at a lower rate
    NO_SLOT = "no_slot"  # the account runs as many jobs as it may: same request when one is free
    RETRY = "retry"  # nothing is known to be wrong: same request, later
    RESTART_READ = "restart_read"  # the page token is no good any more: read the job from page 1
    REPLAY_ELSEWHERE = "replay_elsewhere"  # the token is in use with other parameters: the job exists
    JOB_FAILED = "job_failed"  # this job cannot be started or read; asking again would change nothing
    VIDEO_REJECTED = "video_rejected"  # the object is not one that Rekognition takes
    RESULTS_GONE = "results_gone"  # AWS does not know the job (any more)
    STOP_LANE = "stop_lane"  # the account refuses us: no video is to blame


PASSING = frozenset({Verdict.RETRY, Verdict.SLOW_DOWN})
"""Nothing is known to be wrong."""

NOT_THE_JOBS = PASSING | {Verdict.NO_SLOT, Verdict.STOP_LANE}
"""No word on the job itself."""


class AwsError(ModworkerError):
    """A call that brought no result: its verdict, the AWS error code, and AWS's own words.

    `date` is the HTTP header of that name, by which AWS tells its time; "" where nothing was answered.
    """

    def __init__(self, verdict: Verdict, code: str, message: str, date: str = "") -> None:
        self.verdict = verdict
        self.code = code
        self.message = message
        self.date = date
        super().__init__(f"{code}: {message}" if message else code)


class UnreadableError(AwsError):
    """An answer that cannot be what AWS documents; `body` is what came, as far as it was read.

    RETRY where it may have been cut short on its way, JOB_FAILED where asking again would change nothing.
    """

    def __init__(self, message: str, verdict: Verdict = Verdict.RETRY, body: bytes = b"") -> None:
        self.body = body
        super().__init__(verdict, "UnreadableAnswer", message)


_THROTTLES = dict.fromkeys(
    (
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
    ),
    Verdict.SLOW_DOWN,
)

_DENIALS = dict.fromkeys(
    (
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "Forbidden",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "KMS.AccessDeniedException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotSignedUp",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
        "400",  # to HEAD, which has no body to say more: an expired token, or a version that cannot be
        "401",
        "403",
    ),
    Verdict.STOP_LANE,
)

VERDICTS: dict[str, Verdict] = {
    **_THROTTLES,
    **_DENIALS,
    "LimitExceededException": Verdict.NO_SLOT,
    "InternalServerError": Verdict.RETRY,
    "InvalidPaginationTokenException": Verdict.RESTART_READ,
    "IdempotentParameterMismatchException": Verdict.REPLAY_ELSEWHERE,
    "InvalidParameterException": Verdict.JOB_FAILED,
    "InvalidParameterValueException": Verdict.JOB_FAILED,
    "ValidationException": Verdict.JOB_FAILED,
    "InvalidS3ObjectException": Verdict.VIDEO_REJECTED,
    "VideoTooLargeException": Verdict.VIDEO_REJECTED,
    "ResourceNotFoundException": Verdict.RESULTS_GONE,
    "404": Verdict.VIDEO_REJECTED,
    "NoSuchKey": Verdict.VIDEO_REJECTED,
    "NoSuchVersion": Verdict.VIDEO_REJECTED,
}
"""AWS error code -> verdict. Sources: the operations' pages of the Rekognition API reference and its error-handling
page; the common errors of AWS query and JSON services. A code that is not listed is judged by its HTTP status."""


def verdict_on(code: str, http_status: int) -> Verdict:
    """Judge an AWS error by its code, else by its HTTP status: 5xx and 429 pass, other refusals concern the job."""
    if code in VERDICTS:
        return VERDICTS[code]
    if http_status == 429:
        return Verdict.SLOW_DOWN
    if http_status in (401, 403):
        return Verdict.STOP_LANE
    return Verdict.JOB_FAILED if 400 <= http_status < 500 else Verdict.RETRY
