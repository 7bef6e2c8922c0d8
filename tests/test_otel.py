"""Traces: one for a job, whichever processes worked on it; of its errors the code; of its video nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from tests.system.site import Site
from tests.system.truth import rows_in
from worker.errors import AwsError, Verdict
from worker.model import tag_of, token_of
from worker.otel import OtelTraces

TAGS = [tag_of(token_of(bytes([n]) * 32, 1)) for n in range(100)]


class Collector:
    """Takes traces by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        taken = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                taken.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def spans(self) -> Iterator[tuple[str, str, dict[str, object]]]:
        """(name, trace in hexadecimal digits, attributes) of each span."""
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        about = {item.key: item.value.string_value or item.value.int_value for item in span.attributes}
                        yield span.name, span.trace_id.hex(), about


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def kept(share: float) -> tuple[OtelTraces, InMemorySpanExporter]:
    """Traces whose spans stay at hand."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=TraceIdRatioBased(share))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OtelTraces(provider.get_tracer("test")), exporter


async def test_a_job_is_one_trace_from_its_start_to_its_last_page(site: Site, collector: Collector):
    """A collector hears of each job's Start and Gets under the number in its tag, and of no object's name."""
    site.configure(
        traces={"url": collector.url, "share": 1.0}, local={"videos": 6}, moderation={"min_confidence": 90.0}
    )
    site.run("backfill", "s3://synthetic-archive/")
    jobs = await rows_in(site.database_url, "select id, tag, bucket, key from job")
    told = list(collector.spans())
    assert len(jobs) == 6
    for job in jobs:
        done = [(name, about) for name, trace, about in told if trace == job["tag"][4:36]]
        assert {name for name, _ in done} == {"StartContentModeration", "GetContentModeration"}
        assert all((about["lane"], about["job"]) == ("main", job["id"]) for _, about in done)
    assert any(name == "write_pages" for name, _, _ in told)
    assert not [job["key"] for job in jobs if any(job["key"].encode() in body for body in collector.bodies)]


def test_a_job_is_traced_whole_or_not_at_all():
    """Half of the jobs are chosen, by their tags alone: any process chooses the same ones."""
    chosen = []
    for _ in range(2):
        traces, exporter = kept(0.5)
        for tag in TAGS * 2:
            with traces.span("call", tag):
                pass
        spans = [f"{span.context.trace_id:032x}" for span in exporter.get_finished_spans()]
        assert {spans.count(trace) for trace in spans} == {2}
        chosen.append(set(spans))
    assert chosen[0] == chosen[1]
    assert 20 < len(chosen[0]) < 80


def test_an_error_is_told_by_its_code_alone():
    """What AWS said of it may name an object."""
    traces, exporter = kept(1.0)
    with pytest.raises(AwsError), traces.span("call", TAGS[0]):
        raise AwsError(Verdict.RETRY, "InternalServerError", "no such thing as archive/secret.mp4")
    (span,) = exporter.get_finished_spans()
    assert dict(span.attributes or {}) == {"error.type": "InternalServerError"}
    assert not span.events
    assert span.status.description is None


def test_without_the_extra_a_sentence_says_what_to_install():
    """`traces.url` without OpenTelemetry."""
    code = "import sys; sys.modules['opentelemetry'] = None\nfrom worker.errors import UsageError\n"
    code += "try:\n    import worker.otel\nexcept UsageError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == 'traces.url needs OpenTelemetry: install modworker[otel], or write traces.url = ""\n'
