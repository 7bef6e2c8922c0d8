"""The HTTP side of the process: health, readiness, metrics."""

import asyncio
import logging
import socket
import time

import aiohttp
import pytest
import structlog

from worker.errors import UsageError
from worker.metrics import Metrics
from worker.web import server
from worker.web.server import serve

ANYWHERE = "127.0.0.1:0"


async def is_ready() -> None:
    """Nothing stands against it."""


async def get(url: str, method: str = "GET") -> tuple[int, str, aiohttp.typedefs.LooseHeaders]:
    """(status, text, headers) of one request."""
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return response.status, await response.text(), response.headers


async def test_a_living_process_is_healthy_and_ready():
    """/healthz and /readyz answer 200, to HEAD as well."""
    async with serve(ANYWHERE, metrics=Metrics(), ready=is_ready) as url:
        assert (await get(f"{url}/healthz"))[:2] == (200, "ok\n")
        assert (await get(f"{url}/readyz"))[:2] == (200, "ready\n")
        assert (await get(f"{url}/healthz", "HEAD"))[0] == 200


async def test_readiness_tells_its_reason_in_one_line():
    """What stands against readiness is answered with 503, on one line and without secrets."""

    async def ready():
        return "database unreachable:\npostgresql://bob:c4n4ry@db/labels"

    async with serve(ANYWHERE, metrics=Metrics(), ready=ready) as url:
        assert (await get(f"{url}/readyz"))[:2] == (503, "database unreachable: postgresql://bob:***@db/labels\n")
        assert (await get(f"{url}/healthz"))[0] == 200


async def test_readiness_that_raises_is_a_no_without_details():
    """An error within the question is logged, not shown."""

    async def ready():
        raise RuntimeError("c4n4ry")

    with structlog.testing.capture_logs() as logs:
        async with serve(ANYWHERE, metrics=Metrics(), ready=ready) as url:
            status, text, _ = await get(f"{url}/readyz")
    assert (status, text) == (503, "the worker could not find out whether it is ready; its log says why\n")
    assert [line["event"] for line in logs] == ["readiness unknown"]


@pytest.mark.parametrize("heeds_cancellation", [True, False])
async def test_readiness_that_hangs_is_a_no_in_time(monkeypatch, heeds_cancellation):
    """Many probes of a question that hangs are answered in time, ask once, and leave nothing behind."""
    monkeypatch.setattr(server, "READY_WITHIN_SECONDS", 0.2)
    asked = 0
    release = asyncio.Event()

    async def ready():
        nonlocal asked
        asked += 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                if heeds_cancellation:
                    raise

    async with serve(ANYWHERE, metrics=Metrics(), ready=ready) as url:
        begun = time.monotonic()
        answers = await asyncio.gather(*(get(f"{url}/readyz") for _ in range(5)))
        assert time.monotonic() - begun < 2
        assert {answer[:2] for answer in answers} == {
            (503, "the worker did not say within 0.2 s whether it is ready\n")
        }
        assert asked == 1
        release.set()
        async with asyncio.timeout(10):
            while (await get(f"{url}/readyz"))[0] != 200:
                await asyncio.sleep(0)


async def test_metrics_are_served_in_prometheus_format():
    """/metrics holds what was told, with the content type that Prometheus asks for."""
    metrics = Metrics()
    metrics.noticed("main", "marked", 3)
    async with serve(ANYWHERE, metrics=metrics, ready=is_ready) as url:
        status, text, headers = await get(f"{url}/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'modworker_notices_total{lane="main",outcome="marked"} 3.0' in text


async def test_a_fault_of_ours_is_logged_and_not_shown():
    """Even in debug mode, where aiohttp would show it, no traceback leaves the process."""

    class Broken(Metrics):
        def render(self):
            raise RuntimeError("c4n4ry")

    asyncio.get_running_loop().set_debug(True)
    with structlog.testing.capture_logs() as logs:
        async with serve(ANYWHERE, metrics=Broken(), ready=is_ready) as url:
            status, text, _ = await get(f"{url}/metrics")
    assert (status, text) == (500, "the worker could not answer; its log says why\n")
    assert [(line["event"], line["path"]) for line in logs] == [("request failed", "/metrics")]


async def test_unknown_paths_methods_and_garbage_are_refused():
    """What is no request of ours gets a short refusal."""
    asyncio.get_running_loop().set_debug(True)
    async with serve(ANYWHERE, metrics=Metrics(), ready=is_ready) as url:
        assert (await get(f"{url}/"))[0] == 404
        assert (await get(f"{url}/metrics", "POST"))[0] == 405
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"\x00garbage\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert b" 400 " in answer.splitlines()[0]
        assert b"Traceback" not in answer


async def test_a_port_in_use_is_told_and_another_one_taken():
    """The process works on, on a free port, and says which."""
    with socket.create_server(("127.0.0.1", 0)) as taken, structlog.testing.capture_logs() as logs:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with serve(listen, metrics=Metrics(), ready=is_ready) as url:
            assert url != f"http://{listen}"
            assert (await get(f"{url}/healthz"))[0] == 200
    assert logs == [{"event": "port in use, took another one", "log_level": "warning", "wanted": listen, "url": url}]


async def test_a_free_port_is_used_as_asked_and_given_back():
    """The port asked for is the one served, and free again afterwards, connections kept alive or not."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with serve(listen, metrics=Metrics(), ready=is_ready) as url:
                assert url == f"http://{listen}"
                async with session.get(f"{url}/healthz") as response:
                    assert response.status == 200
                begun = time.monotonic()
            assert time.monotonic() - begun < 3


async def test_an_address_of_another_machine_is_refused_in_words():
    """An address that is not ours is a mistake of the configuration."""
    with pytest.raises(UsageError, match=r"^worker\.http_listen: cannot listen on 192\.0\.2\.1:80 \(.+\); write an"):
        async with serve("192.0.2.1:80", metrics=Metrics(), ready=is_ready):
            pass


async def test_ipv6_loopback_is_served():
    """Brackets around an IPv6 address are taken off to listen and put back in the URL."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with serve("[::1]:0", metrics=Metrics(), ready=is_ready) as url:
        assert url.startswith("http://[::1]:")
        assert (await get(f"{url}/healthz"))[0] == 200


async def test_no_request_is_logged(caplog):
    """Probes come every few seconds: they leave no line."""
    caplog.set_level(logging.INFO, "aiohttp")
    with structlog.testing.capture_logs() as logs:
        async with serve(ANYWHERE, metrics=Metrics(), ready=is_ready) as url:
            await get(f"{url}/readyz")
    assert logs == []
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]
