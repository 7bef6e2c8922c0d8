"""The log: its form, what it lets through from libraries, and that no secret reaches it."""

import json
import subprocess
import sys
import textwrap
import time

import pytest

from worker.log import redacted

CANARY = "c4n4ry"


def run(code: str, *, check: bool = True, **options) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, because logging is set up once for a process."""
    setup = "import logging, sys, structlog\nfrom worker.log import configure\nlog = structlog.get_logger()\n"
    command = [sys.executable, "-c", setup + textwrap.dedent(code)]
    return subprocess.run(command, check=check, text=True, timeout=60, **({"capture_output": True} | options))


def lines(code: str) -> list[dict]:
    """The JSON lines that the code logs."""
    process = run("configure(json_lines=True)\n" + textwrap.dedent(code))
    assert process.stdout == ""
    return [json.loads(line) for line in process.stderr.splitlines()]


def test_a_line_is_one_json_object_with_time_level_event_and_context():
    """Time in UTC, level and event lead; values and what the caller bound follow."""
    (line,) = lines("""
        with structlog.contextvars.bound_contextvars(lane="main", job="j", video="b/k"):
            log.info("page written", rows=1000, seconds=0.5, nothing=None, fine=True)
        log.debug("below the level")
    """)
    time.strptime(line["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ")
    assert list(line)[:3] == ["timestamp", "level", "event"]
    del line["timestamp"]
    assert line == {
        "level": "info",
        "event": "page written",
        "lane": "main",
        "job": "j",
        "video": "b/k",
        "rows": 1000,
        "seconds": 0.5,
        "nothing": None,
        "fine": True,
    }


def test_an_unknown_level_is_refused():
    """A misspelt level is an error, not silence."""
    process = run('try: configure(json_lines=True, level="loud")\nexcept KeyError: print("refused")')
    assert process.stdout == "refused\n"


def test_debug_is_for_the_program_and_never_for_libraries():
    """At DEBUG the program says more; botocore, which would write down credentials, does not."""
    process = run(f"""
        configure(json_lines=True, level="debug")
        logging.getLogger("botocore").setLevel(logging.DEBUG)
        logging.getLogger("botocore.auth").debug("{CANARY}")
        logging.getLogger("aiohttp.access").info("{CANARY}")
        log.debug("said")
    """)
    assert [json.loads(line)["event"] for line in process.stderr.splitlines()] == ["said"]


def test_libraries_take_the_same_way():
    """What libraries warn of is a line of the same form, with the bound context and the logger's name."""
    first, second, third = lines("""
        import warnings
        with structlog.contextvars.bound_contextvars(lane="main"):
            logging.getLogger("aiohttp.server").warning("odd request %s", 5)
        logging.getLogger("asyncio").error("never retrieved", exc_info=ValueError("why"))
        warnings.warn("old", UserWarning)
    """)
    assert (first["event"], first["level"], first["lane"]) == ("odd request 5", "warning", "main")
    assert first["logger"] == "aiohttp.server"
    assert second["exception"].endswith("ValueError: why")
    assert "UserWarning: old" in third["event"]


def test_a_faulty_call_of_a_library_does_not_raise():
    """A record that cannot be formatted is told, not raised."""
    (line,) = run('configure(json_lines=True)\nlogging.getLogger("x").error("%d", "no")').stderr.splitlines()
    assert line == "a record of logger x could not be formatted"


def test_a_terminal_gets_a_readable_form():
    """The console form is one line of words, with the traceback of an exception below it, without local variables."""
    process = run(f"""
        configure(json_lines=False)
        log.warning("lane lost", lane="main")
        local = "{CANARY}"
        try: 1 / 0
        except ZeroDivisionError: log.exception("failed")
    """)
    first, *rest = process.stderr.splitlines()
    assert "lane lost" in first
    assert "lane=main" in first
    assert rest[-1] == "ZeroDivisionError: division by zero"
    assert CANARY not in process.stderr


def test_secrets_are_masked_by_their_key():
    """The value of a key that names a secret is masked, at any depth, whatever its type."""
    keys = ["password", "token", "secret", "authorization", "next_token", "NextToken", "aws_secret_access_key"]
    found = lines(f"""
        for key in {keys}:
            for value in ("{CANARY}", ["{CANARY}"], b"{CANARY}", {{"a": "{CANARY}"}}):
                log.info("x", request=[{{"Deep": {{key: value}}}}], **{{key: value}})
    """)
    assert len(found) == 4 * len(keys)
    for number, line in enumerate(found):
        key = keys[number // 4]
        assert line[key] == "***"
        assert line["request"] == [{"Deep": {key: "***"}}]


def test_a_harmless_key_keeps_its_value():
    """Words that only begin like a secret are no secret."""
    (line,) = lines('log.info("x", token_seconds=604800, tokens=5, passwords_checked=True, key="a/b.mp4", region="eu")')
    assert [line[key] for key in ("token_seconds", "tokens", "passwords_checked", "key")] == [
        604800,
        5,
        True,
        "a/b.mp4",
    ]


PLANTED = [
    f"postgresql://bob:{CANARY}@db/labels",
    f"postgresql://bob:p@s:/s{CANARY}@db/labels",
    f"cannot connect: postgresql://db/labels?user=bob&password={CANARY}&sslmode=require",
    f"host=db password='a {CANARY}' user=bob",
    f'host=db password="a \\" {CANARY}" user=bob',
    f"PASSWORD = {CANARY}",
    f"AKIA{CANARY.upper()}ABCDEFGHIJ",
    f"ASIA{CANARY.upper()}ABCDEFGHIJ",
    f"https://b.s3.amazonaws.com/k?X-Amz-Signature={CANARY}&x=1",
    f"https://b.s3.amazonaws.com/k?x=1&x-amz-security-token={CANARY}%2F",
    f"Authorization: AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature={CANARY}",
    f"{{'Authorization': 'Bearer {CANARY}'}}",
    f"Bearer {CANARY}",
    f"{{'NextToken': '{CANARY}', 'JobId': 'j'}}",
    f'{{"SecretAccessKey": "{CANARY}", "SessionToken": "{CANARY}"}}',
    f"Database(url='x', http_token='{CANARY}')",
    f"Database(url='x', http_token=Secret('{CANARY}'))",
    f"{{'token': b'{CANARY}'}}",
    f"<Credentials><SecretAccessKey>{CANARY} {CANARY}</SecretAccessKey><SessionToken>{CANARY}",
    rf"b'{{\"SessionToken\": \"a {CANARY}\"}}'",
    rf"{{\'password\': \'a {CANARY}\'}}",
    f"https://proxy/?url=https%3A%2F%2Fb%2Fk%3FX-Amz-Signature%3D{CANARY}%26x",
    f"Action=AssumeRole&ExternalId={CANARY}&RoleSessionName=modworker",
    f"POST\n/\n\nhost:x\nx-amz-security-token:{CANARY}\n\nhost;x-amz-security-token",
]


@pytest.mark.parametrize("planted", PLANTED)
def test_secrets_are_masked_by_their_look(planted):
    """A secret inside a text is masked, and the rest of the text stays."""
    assert CANARY not in redacted(planted).lower()
    assert "***" in redacted(planted)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a:b@c.mp4", "s3://bucket/a:b@c.mp4"),
        ("http://127.0.0.1:9108/metrics", "http://127.0.0.1:9108/metrics"),
        ("the token of page 3 is out of date", "the token of page 3 is out of date"),
        ("postgresql://bob:x@db/labels failed", "postgresql://bob:***@db/labels failed"),
        ("password=x&sslmode=require", "password=***&sslmode=require"),
    ],
)
def test_what_is_no_secret_stays_readable(text, shown):
    """Addresses, object names and prose are left alone."""
    assert redacted(text) == shown


@pytest.mark.parametrize("json_lines", [True, False])
def test_no_planted_secret_reaches_standard_error(json_lines):
    """In the event, a value, a key's value, an exception's text and a library's record, in both forms."""
    process = run(f"""
        configure(json_lines={json_lines})
        class Odd:
            def __str__(self): return {PLANTED[0]!r}
            __repr__ = __str__
        for planted in {PLANTED!r}:
            log.info(planted, value=planted, inside=[{{"a": (planted, {{planted}})}}])
            log.info("objects", error=ValueError(planted), odd=Odd())
            log.info("deep", a=[[[[[[[planted]]]]]]], **{{planted: 1}})
            logging.getLogger("botocore").warning("%s", planted)
            try:
                try: raise KeyError(planted)
                except KeyError as error: raise ValueError(planted) from error
            except ValueError: log.exception("failed")
    """)
    assert CANARY not in process.stderr.lower()
    assert process.stderr.count("***") > 5 * len(PLANTED)


def test_a_known_secret_is_masked_wherever_it_turns_up():
    """One that the environment names, or that was named, is masked bare, and as JSON, a repr or a URL writes it."""
    kept = "wJalr/XUtn 'FEMI' \"K7\\MDENG\" bPxRfü"
    process = run(
        f"""
        import json, urllib.parse
        from worker.log import keep_secret, redacted
        configure(json_lines=True)
        keep_secret([{kept!r}, "short"])
        for secret in ({kept!r}, {CANARY * 2!r}):
            for form in (secret, json.dumps(secret), repr(secret), repr([secret]), urllib.parse.quote(secret, safe="")):
                log.info(f"before {{form}} after", value=form, error=ValueError(form), inside=[{{"a": form}}])
                print(redacted(f"x{{form}}x"))
        print(redacted("short words stay"))
        """,
        env={"AWS_SECRET_ACCESS_KEY": CANARY * 2},
    )
    printed = process.stdout + process.stderr
    assert "short words stay" in process.stdout
    assert CANARY not in printed
    assert "wJalr" not in printed
    assert printed.count("***") == 10 * 5


def test_what_nobody_catches_is_a_line_without_secrets():
    """An exception that ends the process, a thread or a destructor takes the same way, with its cause and context."""
    process = run(
        f"""
        import gc, threading
        configure(json_lines=True)
        class Odd:
            def __del__(self): raise ValueError("password={CANARY}")
        def fail(*_): raise ValueError("password={CANARY}") from KeyError("token={CANARY}")
        thread = threading.Thread(target=fail, name="reader")
        thread.start()
        thread.join()
        odd = Odd()
        del odd
        try: fail()
        except ValueError: raise RuntimeError("Bearer {CANARY}")
        """,
        check=False,
    )
    assert process.returncode == 1
    found = [json.loads(line) for line in process.stderr.splitlines()]
    assert [line["event"] for line in found] == ["uncaught", "raised where nobody could catch it", "uncaught"]
    assert found[0]["thread"] == "reader"
    assert "KeyError" in found[2]["exception"]
    assert CANARY not in process.stderr
    assert process.stderr.count("***") == 6


def test_any_value_can_be_logged():
    """Objects of any kind, broken ones and odd texts still give a line."""
    *found, last = lines(r"""
        import datetime, decimal, pathlib, uuid
        class Broken:
            def __str__(self): raise RuntimeError
        loop = []
        loop.append(loop)
        log.info("x", a=datetime.date(2026, 1, 1), b=pathlib.Path("p"), c=decimal.Decimal("1.5"), d=uuid.UUID(int=1))
        log.info("x", a=Broken(), b="\ud800", c=loop, d=2**70, e=float("nan"), f={1: 2}, g=ValueError("v"))
        log.info("last")
    """)
    assert last["event"] == "last"
    assert [found[0][key] for key in "abcd"] == ["2026-01-01", "p", "1.5", "00000000-0000-0000-0000-000000000001"]
    assert found[1]["a"] == "<Broken that cannot be printed>"
    assert found[1]["d"] == 2**70
    assert found[1]["f"] == {"1": 2}
    assert found[1]["g"] == "ValueError: v"


def test_work_goes_on_when_the_log_cannot_be_written():
    """A full disk or a closed standard error costs lines, not work."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 (a device, not a file of ours)
        process = run(
            """
            configure(json_lines=True)
            log.error("lost")
            logging.getLogger("x").error("lost")
            sys.stderr.close()
            log.error("lost")
            print("worked")
            sys.stderr = sys.__stderr__ = None
            """,
            capture_output=False,
            stdout=subprocess.PIPE,
            stderr=full,
        )
    assert process.stdout == "worked\n"


def test_a_line_costs_microseconds():
    """Logging is cheap enough to tell of every job: far below a millisecond a line, next to nothing when not said."""
    (line,) = lines("""
        import io, time
        true, sys.stderr = sys.stderr, io.StringIO()
        def cost(call):
            before = time.process_time()
            for _ in range(5000): call("page written", rows=1000, seconds=0.12, video="bucket/folder/video.mp4")
            return (time.process_time() - before) / 5000
        with structlog.contextvars.bound_contextvars(lane="main", job="x" * 64):
            said, unsaid = cost(log.info), cost(log.debug)
        sys.stderr = true
        log.info("cost", said=said, unsaid=unsaid)
    """)
    assert line["said"] < 0.000_5
    assert line["unsaid"] < 0.000_05
