"""Everything that an operator may set: its type, default, bounds and meaning."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from worker.model import BACKFILL_NAME

_MARGIN = 12 / 168  # 12 hours of 7 days: for the clocks of others and for slow calls
EMBEDDED = "embedded"
LEAST_TOKEN = 16  # symbols, where strangers may guess
LOCAL = "local"

Keys = tuple[str, ...]
"""The way to a value through the tables, such as ("lanes", "main", "region")."""

TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):[A-Za-z0-9_-]{1,256}")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@\-/]+")
_DEPLOYMENT = r"^[A-Za-z0-9._-]{1,64}$"
_LANE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
PATTERN_ADVICE = {
    _DEPLOYMENT: "write 1 to 64 letters, digits, dots, - and _",
    _LANE_NAME: "name a lane with 1 to 63 letters, digits, - and _, a letter or digit first",
    BACKFILL_NAME: "write 1 to 200 characters, none of them a control character",
    _ONE_LINE: "write one line without control characters",
}
"""Pattern of a text -> what to write, in words."""

_REGION = re.compile(r"[a-z]{2,3}(-[a-z]+)+-\d{1,2}")


def is_loopback(host: str) -> bool:
    """True where only this machine reaches the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """`host:port` -> (host, port); brackets around an IPv6 address are taken off."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listen_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError('write host:port, such as "127.0.0.1:9108" (port 0 takes any free one)')
    return address


def _split_url(url: str, advice: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(advice) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(advice)
    if parts.username is not None:
        raise ValueError("write the URL without a user and password; credentials come from profile or role_arn")
    if parts.query or parts.fragment:
        raise ValueError("write the URL as far as its path; what stands behind ? or # has no meaning here")
    return parts


def _guarded_url(url: str, advice: str) -> str:
    parts = _split_url(url, advice)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("write https://…; plain http is for this machine only (127.0.0.1, [::1], localhost)")
    return url


def _endpoint(url: str) -> str:
    return _guarded_url(url, 'write a URL, such as "https://vpce-1234.rekognition.us-east-1.vpce.amazonaws.com"')


def _endpoint_or_local(url: str) -> str:
    return url if url == LOCAL else _endpoint(url)


def _queue_url(url: str) -> str:
    advice = 'write a URL, such as "https://sqs.us-east-1.amazonaws.com/123456789012/moderation"'
    return _guarded_url(url, advice) if url else url


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


# An environment can set a variable to nothing more easily than unset it, so "" stands for an absent optional value.
# TOML has no null: editors are told of the text alone.
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_SECRET = {"type": "string", "format": "password", "writeOnly": True}
_OPTIONAL = (BeforeValidator(_none_if_empty), WithJsonSchema({"type": "string"}))
OptionalText = Annotated[str | None, *_OPTIONAL]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_none_if_empty), WithJsonSchema(_SECRET)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), WithJsonSchema(_TEXTS)]
OptionalEndpoint = Annotated[Annotated[str, AfterValidator(_endpoint)] | None, *_OPTIONAL]
OptionalEndpointOrLocal = Annotated[Annotated[str, AfterValidator(_endpoint_or_local)] | None, *_OPTIONAL]
LaneName = Annotated[str, Field(pattern=_LANE_NAME)]


class Section(BaseModel):
    """A table of the config file: unknown keys are refused, defaults are checked like everything else."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and kind in (int, float):
            raise ValueError("write a whole number" if kind is int else "write a number")
        return value


class Database(Section):
    """Where the labels are kept."""

    url: SecretStr = Field(
        SecretStr(EMBEDDED),
        description='A PostgreSQL URL, or "embedded" for a server of the worker\'s own',
        examples=["postgresql://user@host/db"],
        json_schema_extra={"default": EMBEDDED},
    )
    data_dir: Path = Field(
        Path(".modworker"),
        description="Folder of the embedded database and the local service, relative to the working directory",
    )
    min_free_gb: float = Field(
        2.0, ge=0, le=1_000_000, description="Nothing more is claimed while the embedded database's disk has less"
    )
    migrate: bool = Field(default=False, description="Apply migrations at start; the embedded database always does")
    pool_size: int = Field(8, ge=2, le=100, description="Connections of one process")

    @field_validator("url")
    @classmethod
    def _known_kind(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if text != EMBEDDED and not text.startswith(("postgresql://", "postgres://")):
            raise ValueError('write "embedded", or a URL such as "postgresql://user@host/db"')
        return url

    @property
    def is_embedded(self) -> bool:
        """True where the worker runs a PostgreSQL of its own."""
        return self.url.get_secret_value() == EMBEDDED


class Worker(Section):
    """The process."""

    name: str = Field(
        "", max_length=100, pattern=_ONE_LINE, description="For people to read; default: host name and process id"
    )
    shutdown_grace_seconds: float = Field(20.0, ge=0, le=3600, description="To finish what was begun before SIGTERM")
    lease_seconds: float = Field(15.0, ge=1, le=300, description="A lane is free after this time without a renewal")
    probe_seconds: float = Field(30.0, ge=0.1, le=3600, description="Between two tries of a lane that AWS denies")
    http_listen: str = Field("127.0.0.1:9108", description='Metrics, health and pages; "" for none')
    http_token: SecretStr = Field(
        SecretStr(""),
        description="Asked for by the pages; "
        f"{LEAST_TOKEN} symbols or more where http_listen reaches beyond this machine",
    )

    @field_validator("http_listen")
    @classmethod
    def _address(cls, address: str) -> str:
        return _listen_address(address) if address else address


class Moderation(Section):
    """Defaults of a new backfill."""

    min_confidence: float = Field(
        50.0, ge=0, le=100, description="Percent; labels below it are not reported, and asking again costs a new job"
    )
    edition: str = Field("", max_length=200, pattern=_ONE_LINE, description="Another text buys the same videos again")
    aggregate_by: Literal["TIMESTAMPS", "SEGMENTS"] = Field(
        "TIMESTAMPS", description="How results are read: when a label was seen, or from when to when"
    )
    price_usd_per_minute: float = Field(
        0.10, ge=0, le=1000, description="What AWS asks for a minute of video; for budgets and sums"
    )
    expected_minutes_per_gb: float = Field(
        20.0, gt=0, le=100_000, description="Reserved for a video of unknown duration, until learned"
    )
    budget: Literal["expected", "strict"] = Field(
        "expected", description='"expected" reserves what a video should cost, "strict" the worst case'
    )
    max_generations: int = Field(
        2, ge=1, le=10, description="Paid tries of a video whose job failed for a reason worth one"
    )
    first_due_seconds: float = Field(
        300.0, gt=0, le=604_800, description="Ask after a job without a notice, until the usual time is learned"
    )


class Aws(Section):
    """Lifetimes as AWS documents them; only rehearsals on a faster clock change them."""

    token_seconds: float = Field(604_800.0, gt=0, description="Of a ClientRequestToken")
    results_seconds: float = Field(604_800.0, gt=0, description="Of a job's results")
    page_token_seconds: float = Field(86_400.0, gt=0, description="Of a NextToken")

    @property
    def reliable_token_seconds(self) -> float:
        """How long a token is relied on."""
        return self.token_seconds * (1 - _MARGIN)

    @property
    def reliable_results_seconds(self) -> float:
        """How long AWS is sure to know a job."""
        return self.results_seconds * (1 - _MARGIN)


class Endpoints(Section):
    """URLs of single services, such as those of VPC endpoints."""

    rekognition: OptionalEndpoint = Field(None, description="Of Rekognition")
    sqs: OptionalEndpoint = Field(None, description="Of SQS: the lane's queue, and that of its arrivals")
    s3: OptionalEndpoint = Field(None, description="Of S3: listings, HEADs, inventories, and videos in the pages")
    sts: OptionalEndpoint = Field(None, description="Of STS: whose account the lane is, and roles that are assumed")
    service_quotas: OptionalEndpoint = Field(None, description='Of Service Quotas: quotas = "auto", and `doctor`')
    sns: OptionalEndpoint = Field(None, description="Of SNS; asked by `doctor` only")
    iam: OptionalEndpoint = Field(None, description="Of IAM; asked by `doctor` only")


class Arrivals(Section):
    """New videos, registered as they arrive: S3's event notifications, from a queue of their own."""

    queue_url: str = Field(
        "",
        description='A queue in the lane\'s region that S3 notifies of created objects; "" for none',
        examples=["https://sqs.us-east-1.amazonaws.com/123456789012/uploads"],
    )
    backfill: str = Field("arrivals", pattern=BACKFILL_NAME, description="Name of the backfill that they join")
    priority: int = Field(
        100,
        ge=-1_000_000,
        le=1_000_000,
        description="Of that backfill when it is made; higher ones go first, archives have 0",
    )
    budget_usd: float | None = Field(None, ge=0, le=10_000_000, description="Of that backfill when it is made")
    match: Patterns = Field((), description="Patterns of keys, of which one must fit; none for all")
    exclude: Patterns = Field((), description="Patterns of keys, of which none may fit")

    @field_validator("queue_url")
    @classmethod
    def _queue(cls, url: str) -> str:
        return _queue_url(url)


class Lane(Section):
    """One AWS account and region."""

    region: str = Field(description="Of the buckets, the topic and the queue", examples=["us-east-1"])
    queue_url: str = Field(
        "",
        description="The lane's own SQS queue, subscribed to the topic",
        examples=["https://sqs.us-east-1.amazonaws.com/123456789012/moderation"],
    )
    sns_topic_arn: str = Field(
        "",
        description="The topic that Rekognition reports to",
        examples=["arn:aws:sns:us-east-1:123456789012:AmazonRekognitionModeration"],
    )
    publish_role_arn: str = Field(
        "",
        description="The role by which Rekognition publishes to the topic",
        examples=["arn:aws:iam::123456789012:role/rekognition-publish"],
    )
    start_per_second: float = Field(5.0, gt=0, le=10_000, description="Quota of StartContentModeration")
    get_per_second: float = Field(20.0, gt=0, le=10_000, description="Quota of GetContentModeration")
    concurrent_jobs: int = Field(20, ge=1, le=1_000_000, description="Quota of running jobs")
    quotas: Literal["configured", "auto"] = Field(
        "configured",
        description='"auto" asks Service Quotas when the lane is opened; numbers written here are ceilings',
    )
    profile: OptionalText = Field(None, description="Of the AWS config files")
    role_arn: OptionalText = Field(
        None, description="A role that the worker assumes", examples=["arn:aws:iam::123456789012:role/moderation"]
    )
    external_id: OptionalSecret = Field(None, description="Given when assuming role_arn")
    endpoint_url: OptionalEndpointOrLocal = Field(
        None, description='Of all services; "local" runs the local moderation service as a child process'
    )
    endpoints: Endpoints = Field(Endpoints(), description="Of single services")
    arrivals: Arrivals = Field(Arrivals(), description="New videos, registered as they arrive")

    @field_validator("region")
    @classmethod
    def _region(cls, region: str) -> str:
        if not _REGION.fullmatch(region):
            raise ValueError('write a region, such as "us-east-1"')
        return region

    @field_validator("queue_url")
    @classmethod
    def _queue(cls, url: str) -> str:
        return _queue_url(url)

    @field_validator("sns_topic_arn")
    @classmethod
    def _topic(cls, arn: str) -> str:
        if arn and not TOPIC_ARN.fullmatch(arn):
            raise ValueError(
                'write a topic\'s ARN, such as "arn:aws:sns:us-east-1:123456789012:AmazonRekognitionModeration"'
            )
        return arn

    @field_validator("publish_role_arn", "role_arn")
    @classmethod
    def _role(cls, arn: str | None) -> str | None:
        if arn and not _ROLE_ARN.fullmatch(arn):
            raise ValueError('write a role\'s ARN, such as "arn:aws:iam::123456789012:role/rekognition-publish"')
        return arn

    @property
    def is_local(self) -> bool:
        """True where the local moderation service stands in for AWS."""
        return self.endpoint_url == LOCAL

    @property
    def topic_account(self) -> str:
        """The account that owns the topic, which must be the lane's; "" where there is no topic."""
        match = TOPIC_ARN.fullmatch(self.sns_topic_arn)
        return match["account"] if match else ""


class Traces(Section):
    """What is sent to a collector of OpenTelemetry."""

    url: str = Field(
        "",
        description='Where it takes traces by OTLP over HTTP; "" for nowhere',
        examples=["http://127.0.0.1:4318/v1/traces"],
    )
    share: float = Field(0.01, ge=0, le=1, description="Of the jobs, that are traced from their start to their end")

    @field_validator("url")
    @classmethod
    def _known_place(cls, url: str) -> str:
        return _guarded_url(url, 'write a URL, such as "http://127.0.0.1:4318/v1/traces"') if url else url


class LocalEndpoints(Section):
    """Services that stand in for the local service's own."""

    s3: OptionalEndpoint = Field(None, description="Of an S3 that holds the videos, in place of its own storage")
    sns: OptionalEndpoint = Field(None, description="Of an SNS that is given the completion messages")


class LocalQuotas(Section):
    """What the local service grants every account, in place of what its lane says."""

    start_per_second: float | None = Field(None, gt=0, le=10_000, description="Per second of the service's clock")
    get_per_second: float | None = Field(None, gt=0, le=10_000, description="Per second of the service's clock")
    concurrent_jobs: int | None = Field(None, ge=1, le=1_000_000, description="Running jobs")


class Local(Section):
    """The local moderation service."""

    listen: str = Field("127.0.0.1:0", description="host:port; port 0 takes any free one")
    analyst: Literal["synthetic", "onnx"] = Field("synthetic", description='"onnx" looks at real videos')
    cluster: str = Field(
        "", description='Ray cluster that scores the frames of "onnx": HOST:PORT of its head, or "auto" on a node of it'
    )
    videos: int = Field(500, ge=0, le=100_000_000, description="Size of the made-up archive s3://synthetic-archive/")
    seed: int = Field(1, description="Another number makes up another archive")
    speed: float = Field(
        1.0, gt=0, le=1_000_000, description="How much faster than true its clock runs: jobs, lifetimes, quotas"
    )
    job_seconds: float = Field(5.0, ge=0, le=86_400, description="What every job takes, on its clock")
    job_seconds_per_video_second: float = Field(0.1, ge=0, le=100, description="What the video's length adds to that")
    quotas: LocalQuotas = Field(LocalQuotas(), description="Of every account, in place of what its lane says")
    quota_burst: float = Field(2.0, ge=1, le=1000, description="Calls that may come at once within a quota")
    largest_page: int = Field(1000, ge=1, le=1000, description="Entries on a page at most, however many are asked for")
    faults: Path | None = Field(None, description="File with a fault plan (TOML)", examples=["faults.toml"])
    check_answers: bool = Field(default=False, description="Check every answer against the service models")
    endpoints: LocalEndpoints = Field(LocalEndpoints(), description="Of services to use in place of its own")

    @field_validator("listen")
    @classmethod
    def _address(cls, address: str) -> str:
        return _listen_address(address)


class Settings(Section):
    """The config file of modworker."""

    model_config = ConfigDict(title="modworker")

    deployment: str = Field(
        "default",
        pattern=_DEPLOYMENT,
        description="Part of every job's identity; fixed in the database at its first migration",
    )
    database: Database = Database()
    worker: Worker = Worker()
    moderation: Moderation = Moderation()
    aws: Aws = Aws()
    lanes: dict[LaneName, Lane] = Field({}, description="By name")
    traces: Traces = Traces()
    local: Local = Local()
