"""What is true after a run: as readers of the database see it, as a plain client reads it, and as the ledger has it."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from tests.system.site import Site
from worker.config.settings import LOCAL
from worker.local.accounts import access_key_of, account_of

Labels = Counter[tuple[Any, ...]]
"""(JobId, timestamp in ms, name, parent's name, level, confidence) -> how often."""


async def rows_in(database_url: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
    """What a reader of the database gets."""
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def labels_in(database_url: str) -> Labels:
    """Every label row of the public view, reduced to what the API tells, as a multiset."""
    rows = await rows_in(
        database_url,
        "select aws_job_id, timestamp_ms, name, parent_name, taxonomy_level, confidence from moderation_labels",
    )
    return Counter(tuple(row) for row in rows)


async def states_in(database_url: str) -> Counter[str]:
    """Videos by state."""
    rows = await rows_in(database_url, "select state, count(*) from video_status group by state")
    return Counter({row["state"]: row["count"] for row in rows})


def labels_of(client: Any, job_id: str) -> Labels:
    """What a plain boto3 client reads of one job."""
    found: Labels = Counter()
    token: dict[str, str] = {}
    while True:
        page = client.get_content_moderation(JobId=job_id, **token)
        for entry in page["ModerationLabels"]:
            label = entry["ModerationLabel"]
            found[
                job_id,
                entry["Timestamp"],
                label["Name"],
                label["ParentName"],
                label["TaxonomyLevel"],
                label["Confidence"],
            ] += 1
        if "NextToken" not in page:
            return found
        token = {"NextToken": page["NextToken"]}


def labels_of_finished(clients: Mapping[str, Any], paid: Iterable[Mapping[str, Any]]) -> Labels:
    """What plain clients, by their account, read of the ledger's jobs that SUCCEEDED."""
    found: Labels = Counter()
    for job in paid:
        if job["status"] == "SUCCEEDED":
            found.update(labels_of(clients[job["account"]], job["job_id"]))
    return found


def paid_by(site: Site) -> list[dict[str, Any]]:
    """The jobs that the accounts of the site's lanes were billed for; other sites may share its service."""
    accounts = {
        account_of(name) for name in site.lanes() if site.sections[f"lanes.{name}"].get("endpoint_url") == LOCAL
    }
    return [job for job in site.ledger()["paid"] if not accounts or job["account"] in accounts]


def labels_at_service(site: Site) -> Labels:
    """What the service tells, as JSON over HTTP, of every job that it was paid for and finished."""
    found: Labels = Counter()
    for _, labels in jobs_at_service(site, paid_by(site)):
        found.update(labels)
    return found


def jobs_at_service(site: Site, paid: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Labels]]:
    """(JobId, what the service tells) of those of the jobs that SUCCEEDED."""
    with closing(http.client.HTTPConnection(urlsplit(site.service_url() or "").netloc)) as connection:
        for job in paid:
            if job["status"] == "SUCCEEDED":
                yield job["job_id"], Counter(_labels_over_http(connection, job))


def _labels_over_http(connection: http.client.HTTPConnection, job: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Plain JSON, since botocore takes ten times as long to read a page."""
    scope = f"{access_key_of(job['account'])}/20240101/{job['region']}/rekognition/aws4_request"
    headers = {
        "X-Amz-Target": "RekognitionService.GetContentModeration",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }
    request = {"JobId": job["job_id"]}
    while True:
        connection.request("POST", "/", json.dumps(request), headers)
        page = json.load(connection.getresponse())
        for entry in page.get("ModerationLabels", []):
            label = entry["ModerationLabel"]
            yield (
                job["job_id"],
                entry["Timestamp"],
                label["Name"],
                label["ParentName"],
                label["TaxonomyLevel"],
                label["Confidence"],
            )
        if page.get("NextToken"):
            request["NextToken"] = page["NextToken"]
        elif page.get("__type") == "ProvisionedThroughputExceededException":
            time.sleep(0.05)
        else:
            assert page["JobStatus"] == "SUCCEEDED", page
            return


def starts_by_object(site: Site) -> Counter[tuple[str, str]]:
    """How often each object was paid for."""
    return Counter((paid["bucket"], paid["key"]) for paid in paid_by(site))
