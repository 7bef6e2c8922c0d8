"""The configuration: what it accepts, how it names mistakes, and that it keeps secrets."""

import json
import os
import re
import shutil
import time
import tomllib
from pathlib import Path

import jsonschema
import pytest

from worker.config import (
    Changes,
    Database,
    Lane,
    Loaded,
    Settings,
    changes_between,
    load,
    masked_url,
    schema,
    show,
    split_address,
)
from worker.errors import ConfigError

CONFIG = Path(__file__).parent.parent / "config"
ACCOUNT = "123456789012"
LANE = f"""
region = "us-east-1"
queue_url = "https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/moderation"
sns_topic_arn = "arn:aws:sns:us-east-1:{ACCOUNT}:AmazonRekognitionModeration"
publish_role_arn = "arn:aws:iam::{ACCOUNT}:role/rekognition-publish"
"""
LOCAL_LANE = '[lanes.main]\nregion = "us-east-1"\nendpoint_url = "local"\n'


@pytest.fixture
def written(tmp_path):
    """Write a config file and give its path."""

    def write(text: str) -> Path:
        path = tmp_path / "worker.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def mistakes(written):
    """The mistakes of a config file and an environment, one text each."""

    def found(text: str, environ: dict[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(written(text), environ or {})
        return [str(mistake) for mistake in caught.value.mistakes]

    return found


@pytest.fixture
def loaded(written):
    """What loads from a text and an environment."""

    def read(text: str, environ: dict[str, str] | None = None) -> Loaded:
        return load(written(text), environ or {})

    return read


def test_defaults_hold_where_nothing_is_written(loaded):
    """A file with one lane gives the documented defaults everywhere else."""
    settings = loaded(f"[lanes.main]{LANE}").settings
    assert settings.deployment == "default"
    assert settings.database.is_embedded
    assert settings.worker.http_listen == "127.0.0.1:9108"
    assert settings.moderation.min_confidence == 50
    assert settings.aws.token_seconds == 7 * 24 * 3600
    lane = settings.lanes["main"]
    assert (lane.start_per_second, lane.get_per_second, lane.concurrent_jobs) == (5, 20, 20)
    assert not lane.is_local
    assert lane.topic_account == ACCOUNT


def test_a_local_lane_needs_neither_queue_nor_topic_nor_role(loaded):
    """With endpoint_url = "local" a region is enough."""
    lane = loaded(LOCAL_LANE).settings.lanes["main"]
    assert lane.is_local
    assert lane.topic_account == ""


def test_the_data_folder_stays_as_written(loaded):
    """A relative data_dir is not resolved: it belongs to the working directory."""
    assert loaded(LOCAL_LANE + '[database]\ndata_dir = "some/where"').settings.database.data_dir == Path("some/where")


@pytest.mark.parametrize(
    ("written_as", "parts"),
    [("127.0.0.1:9108", ("127.0.0.1", 9108)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_addresses_split_into_host_and_port(written_as, parts):
    """Brackets around an IPv6 address are no part of the host."""
    assert split_address(written_as) == parts


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[worker]\nlease_seconds = "fast"', 'worker.lease_seconds: is "fast"; write a number'),
        ("[worker]\nlease_seconds = true", "worker.lease_seconds: is true; write a number"),
        ("[worker]\nlease_seconds = nan", "worker.lease_seconds: is NaN; write a number"),
        ("[worker]\nlease_seconds = 0.5", "worker.lease_seconds: is 0.5; write a number of at least 1"),
        ("[worker]\nlease_seconds = 301", "worker.lease_seconds: is 301; write a number of at most 300"),
        ("[worker]\nname = 5", "worker.name: is 5; write text in quotes"),
        ("[worker]\nname = []", "worker.name: is a list; write text in quotes"),
        ("[worker]\nname = 2026-01-01", "worker.name: is a date or time; write text in quotes"),
        ('[worker]\nname = "a\\nb"', 'worker.name: is "a\\nb"; write one line without control characters'),
        (
            '[worker]\nhttp_listen = "9108"',
            'worker.http_listen: is "9108"; write host:port, such as "127.0.0.1:9108" (port 0 takes any free one)',
        ),
        ("[database]\npool_size = 2.5", "database.pool_size: is 2.5; write a whole number"),
        ("[database]\npool_size = true", "database.pool_size: is true; write a whole number"),
        ('[database]\nmigrate = "maybe"', 'database.migrate: is "maybe"; write true or false'),
        ("[database]\ndata_dir = 1", "database.data_dir: is 1; write text in quotes"),
        ("[moderation]\nmax_generations = 0", "moderation.max_generations: is 0; write a whole number of at least 1"),
        ("[moderation]\nfirst_due_seconds = 0", "moderation.first_due_seconds: is 0; write a number above 0"),
        ('[moderation]\nbudget = "none"', 'moderation.budget: is "none"; write "expected" or "strict"'),
        ('[moderation]\nbuget = "strict"', "moderation.buget: means nothing; did you mean budget?"),
        ("aws = 5", "aws: is a number; write a table, such as [aws]"),
        (
            '"a b" = 5',
            '"a b": means nothing; known here: deployment, database, worker, moderation, aws, lanes, traces, local',
        ),
        ('deployment = "a b"', 'deployment: is "a b"; write 1 to 64 letters, digits, dots, - and _'),
    ],
)
def test_each_mistake_is_one_plain_sentence(mistakes, text, sentence):
    """A mistake says the path, what is wrong, and what to write instead."""
    top_level = "" if text.startswith("[") else text + "\n"
    assert mistakes(top_level + LOCAL_LANE + (text if text.startswith("[") else "")) == [sentence]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('region = "us-east-1"\n', ""), 'lanes.main.region: is missing; write it, such as region = "us-east-1"'),
        (('"us-east-1"', '"Virginia"'), 'lanes.main.region: is "Virginia"; write a region, such as "us-east-1"'),
        (
            ("sqs.us-east-1", "sqs.us-east-2"),
            "lanes.main.queue_url: is in us-east-2, the lane in us-east-1; write one of the lane's region",
        ),
        (
            ("sqs.us-east-1", "eu-west-1.queue"),
            "lanes.main.queue_url: is in eu-west-1, the lane in us-east-1; write one of the lane's region",
        ),
        (
            ("arn:aws:sns:us-east-1", "arn:aws:sns:us-west-2"),
            "lanes.main.sns_topic_arn: is in us-west-2, the lane in us-east-1; write one of the lane's region",
        ),
        (
            (f"arn:aws:iam::{ACCOUNT}:role/", "role/"),
            (
                'lanes.main.publish_role_arn: is "role/rekognition-publish"; write a role\'s ARN, such as '
                '"arn:aws:iam::123456789012:role/rekognition-publish"'
            ),
        ),
        (
            (f'"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/moderation"', '""'),
            'lanes.main.queue_url: is missing; write it, or endpoint_url = "local"',
        ),
        (
            ('region = "us-east-1"', 'region = "us-east-1"\nendpoint_url = "http://proxy.internal"'),
            (
                'lanes.main.endpoint_url: is "http://proxy.internal"; write https://…; plain http is for this '
                "machine only (127.0.0.1, [::1], localhost)"
            ),
        ),
        (
            ('region = "us-east-1"', 'region = "us-east-1"\nendpoints = { sqs = "http://[" }'),
            (
                'lanes.main.endpoints.sqs: is "http://["; write a URL, such as '
                '"https://vpce-1234.rekognition.us-east-1.vpce.amazonaws.com"'
            ),
        ),
        (
            ('region = "us-east-1"', 'region = "us-east-1"\nendpoints = { dynamodb = "https://x" }'),
            (
                "lanes.main.endpoints.dynamodb: means nothing; known here: "
                "rekognition, sqs, s3, sts, service_quotas, sns, iam"
            ),
        ),
    ],
)
def test_mistakes_of_a_lane_are_plain_sentences(mistakes, change, sentence):
    """A lane that AWS would refuse, or that could not hear of its jobs, is refused first, in words."""
    assert mistakes("[lanes.main]" + LANE.replace(*change)) == [sentence]


def test_every_mistake_is_reported_at_once(mistakes):
    """Mistakes of single keys, between keys and of the environment come in one list."""
    found = mistakes(
        f"""
        [moderation]
        max_generations = 0
        [worker]
        http_listen = "0.0.0.0:9108"
        [lanes.first]{LANE}
        [lanes.second]{LANE.replace("sns:us-east-1", "sns:us-east-2")}
        concurrent_jobs = 0
        [lanes.third]
        region = "us-east-1"
        """,
        {"MODWORKER_WORKER__LEASE_SECONDS": "slow", "MODWORKER_DATABSE__URL": "embedded"},
    )
    assert sorted(found) == [
        "MODWORKER_DATABSE__URL: means nothing; did you mean MODWORKER_DATABASE__URL?",
        'MODWORKER_WORKER__LEASE_SECONDS: is "slow"; write a number',
        "lanes.second.concurrent_jobs: is 0; write a whole number of at least 1",
        "lanes.second.queue_url: is the queue of lane first too; write a queue of the lane's own",
        "lanes.second.sns_topic_arn: is in us-east-2, the lane in us-east-1; write one of the lane's region",
        'lanes.third.publish_role_arn: is missing; write it, or endpoint_url = "local"',
        'lanes.third.queue_url: is missing; write it, or endpoint_url = "local"',
        'lanes.third.sns_topic_arn: is missing; write it, or endpoint_url = "local"',
        "moderation.max_generations: is 0; write a whole number of at least 1",
        'worker.http_listen: is "0.0.0.0:9108", beyond this machine; write a worker.http_token as well',
    ]


def test_a_wrong_key_is_reported_once(mistakes):
    """What follows from a mistake that is reported already is no mistake of its own."""
    lane = LANE.replace('"us-east-1"', '"us-east"') + 'endpoint_url = "locl"\n'
    assert [mistake.split(":")[0] for mistake in mistakes(f'[worker]\nhttp_listen = "x"\n[lanes.main]{lane}')] == [
        "worker.http_listen",
        "lanes.main.region",
        "lanes.main.endpoint_url",
    ]


def test_a_configuration_without_lanes_is_refused(mistakes):
    """No lane, no work: the mistake says what to add."""
    assert mistakes("") == ["lanes: is empty; write at least one table, such as [lanes.main]"]


def test_lanes_that_differ_by_case_only_are_refused(mistakes):
    """Variables name lanes in any case, so "Main" beside "main" could not be told apart."""
    assert mistakes(LOCAL_LANE + LOCAL_LANE.replace("main", "Main")) == [
        "lanes.Main: differs from lane main by upper and lower case only; write another name"
    ]


def test_lane_names_are_plain_words(mistakes):
    """Lanes are named in commands, metrics and variables."""
    assert mistakes(LOCAL_LANE.replace("main", '"a b"')) == [
        'lanes."a b": is "a b"; name a lane with 1 to 63 letters, digits, - and _, a letter or digit first'
    ]


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", ""])
def test_loopback_needs_no_token(loaded, listen):
    """Only a listener that other machines can reach has to ask for a token."""
    loaded(LOCAL_LANE + f'[worker]\nhttp_listen = "{listen}"')


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "host.internal:1"])
def test_a_listener_beyond_loopback_needs_a_token(loaded, mistakes, listen):
    """A listener that other machines can reach is refused without a token or with a short one, else taken."""
    section = f'[worker]\nhttp_listen = "{listen}"\n'
    assert mistakes(LOCAL_LANE + section) == [
        f'worker.http_listen: is "{listen}", beyond this machine; write a worker.http_token as well'
    ]
    for token, is_refused in (("k" * 15, True), ("k" * 16, False)):
        text = LOCAL_LANE + section + f'http_token = "{token}"\n'
        if is_refused:
            [told] = mistakes(text)
            assert told.startswith("worker.http_token: is shorter than 16 symbols, and can be guessed from elsewhere")
            assert token not in told
        else:
            loaded(text)


def test_the_environment_wins_over_the_file_and_is_coerced(loaded):
    """Texts of variables become numbers and truth values; keys that no variable names stay as written."""
    result = loaded(
        LOCAL_LANE + "concurrent_jobs = 3\n[worker]\nlease_seconds = 30\nprobe_seconds = 7",
        {
            "MODWORKER_WORKER__LEASE_SECONDS": "12.5",
            "modworker_database__migrate": "true",
            "MODWORKER_DATABASE__POOL_SIZE": "4",
            "MODWORKER_LANES__MAIN__CONCURRENT_JOBS": "40",
            "PATH": "/bin",
        },
    )
    settings = result.settings
    assert (settings.worker.lease_seconds, settings.worker.probe_seconds) == (12.5, 7)
    assert (settings.database.migrate, settings.database.pool_size) == (True, 4)
    assert settings.lanes["main"].concurrent_jobs == 40


def test_variables_find_lanes_in_any_case_and_make_new_ones(loaded):
    """A variable changes the lane whose name it spells in another case, else makes one in lower case."""
    lanes = loaded(
        LOCAL_LANE.replace("main", "Main-1"),
        {
            "MODWORKER_LANES__MAIN-1__START_PER_SECOND": "7",
            "MODWORKER_LANES__Backup__REGION": "eu-west-1",
            "MODWORKER_LANES__Backup__ENDPOINT_URL": "local",
            "MODWORKER_LANES__Backup__ENDPOINTS__S3": "http://127.0.0.1:9000",
        },
    ).settings.lanes
    assert set(lanes) == {"Main-1", "backup"}
    assert lanes["Main-1"].start_per_second == 7
    assert lanes["backup"].endpoints.s3 == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("variable", "text", "advice"),
    [
        ("MODWORKER_DATABSE__URL", "x", "means nothing; did you mean MODWORKER_DATABASE__URL?"),
        ("MODWORKER_WORKER__LEASE", "5", "means nothing; did you mean MODWORKER_WORKER__LEASE_SECONDS?"),
        ("MODWORKER_LANES__Main__Regio", "x", "means nothing; did you mean MODWORKER_LANES__Main__REGION?"),
        ("MODWORKER_WORKER__LEASE_SECONDS__X", "5", "is a table; write a number"),
        ("MODWORKER_WORKER", "5", "is text; set the keys of this table, such as MODWORKER_WORKER__NAME"),
        ("MODWORKER_LANES", "{}", "is text; set the keys of this table, such as MODWORKER_LANES__MAIN__REGION"),
        ("MODWORKER_LANES__MAIN", "", "is text; set the keys of this table, such as MODWORKER_LANES__MAIN__REGION"),
        ("MODWORKER_DATABASE__POOL_SIZE", "many", 'is "many"; write a whole number'),
        ("MODWORKER_DATABASE__POOL_SIZE", "", "is empty; write a whole number"),
        ("MODWORKER_DATABASE__MIGRATE", "", "is empty; write true or false"),
        ("MODWORKER_DATABASE__URL", "", 'is empty; write "embedded", or a URL such as "postgresql://user@host/db"'),
        ("MODWORKER_MODERATION__BUDGET", "", 'is empty; write "expected" or "strict"'),
        (
            "MODWORKER_",
            "",
            "means nothing; known here: deployment, database, worker, moderation, aws, lanes, traces, local",
        ),
    ],
)
def test_a_mistake_of_the_environment_names_the_variable(mistakes, variable, text, advice):
    """A variable that means nothing, or holds a wrong value, is named as it was spelled."""
    assert mistakes(LOCAL_LANE, {variable: text}) == [f"{variable}: {advice}"]


def test_every_unknown_variable_is_named(mistakes):
    """Two variables below one unknown table are two mistakes."""
    found = mistakes(LOCAL_LANE, {"MODWORKER_DATABSE__URL": "x", "MODWORKER_DATABSE__POOL_SIZE": "1"})
    assert [mistake.split(":")[0] for mistake in found] == ["MODWORKER_DATABSE__URL", "MODWORKER_DATABSE__POOL_SIZE"]


def test_arrivals_have_a_queue_of_their_own(written, mistakes):
    """Of the lane's region; neither that in which a lane hears of its jobs, nor another lane's."""

    def taken(lane: str, queue: str, region: str = "us-east-1") -> str:
        url = f"https://sqs.{region}.amazonaws.com/{ACCOUNT}/{queue}"
        return f'[lanes.{lane}]{LANE.replace("/moderation", f"/{lane}")}[lanes.{lane}.arrivals]\nqueue_url = "{url}"\n'

    lanes = load(written(taken("a", "uploads") + taken("b", "others")), {}).settings.lanes
    assert [lane.arrivals.queue_url.rpartition("/")[2] for lane in lanes.values()] == ["uploads", "others"]
    key = "lanes.b.arrivals.queue_url"
    assert mistakes(taken("a", "uploads") + taken("b", "a")) == [
        f"{key}: is the queue in which lane a hears of its jobs; write a queue of their own"
    ]
    assert mistakes(taken("a", "uploads") + taken("b", "uploads")) == [
        f"{key}: is the queue of the arrivals of lane a too; let one lane take them"
    ]
    assert mistakes(taken("b", "uploads", "eu-west-1")) == [
        f"{key}: is in eu-west-1, the lane in us-east-1; write one of the lane's region"
    ]


def test_patterns_of_arrivals_are_one_or_more(written, mistakes):
    """One text is one pattern, in a variable too; what is no text is told by its key."""
    arrivals = LOCAL_LANE + "[lanes.main.arrivals]\n"
    path = written(arrivals + 'exclude = ["a*", "b*"]')
    taken = load(path, {"MODWORKER_LANES__MAIN__ARRIVALS__MATCH": "*.mp4"}).settings.lanes["main"].arrivals
    assert (taken.match, taken.exclude) == (("*.mp4",), ("a*", "b*"))
    assert load(written(arrivals + 'match = "*.mp4"'), {}).settings.lanes["main"].arrivals.match == ("*.mp4",)
    assert mistakes(arrivals + "match = 3\nexclude = [3]") == [
        'lanes.main.arrivals.match: is 3; write a list of texts, such as ["*.mp4"]',
        "lanes.main.arrivals.exclude: is 3; write text in quotes",
    ]


def test_a_mistake_between_keys_names_the_variable_too(mistakes):
    """A queue given by the environment that another lane has already is blamed on the variable."""
    queue = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/moderation"
    text = f"[lanes.a]{LANE}[lanes.b]{LANE.replace('/moderation', '/other')}"
    assert mistakes(text, {"MODWORKER_LANES__B__QUEUE_URL": queue}) == [
        "MODWORKER_LANES__B__QUEUE_URL: is the queue of lane a too; write a queue of the lane's own"
    ]


def test_a_mistake_of_the_file_is_not_hidden_by_a_variable_below_it(mistakes):
    """A text where the file needs a table stays a mistake of the file."""
    found = mistakes('database = "embedded"\n' + LOCAL_LANE, {"MODWORKER_DATABASE__POOL_SIZE": "4"})
    assert found == ["database: is text; write a table, such as [database]"]


def test_empty_variables_mean_empty_text_or_no_optional_value(loaded):
    """Setting a variable to nothing turns the listener off and leaves optional keys out."""
    settings = loaded(
        LOCAL_LANE + 'profile = "p"\n[worker]\nname = "n"',
        {
            "MODWORKER_WORKER__HTTP_LISTEN": "",
            "MODWORKER_WORKER__NAME": "",
            "MODWORKER_LANES__MAIN__PROFILE": "",
            "MODWORKER_LANES__MAIN__ENDPOINTS__S3": "",
        },
    ).settings
    assert (settings.worker.http_listen, settings.worker.name) == ("", "")
    assert settings.lanes["main"].profile is None
    assert settings.lanes["main"].endpoints.s3 is None


CANARIES = (
    "c4n4ry",
    "p@c4n4ry",
    "p:c4n4ry/x",
    "c4n4ry?a=b",
    "1/c4n4ry",
    "1?c4n4ry",
    "#c4n4ry",
    "c4n4ry%2F",
    "ü c4n4ry",
)


@pytest.mark.parametrize("password", CANARIES)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob:{}@db.internal:5432/labels?sslmode=require",
        "postgres://:{}@[::1]/labels",
        "postgresql://bob@db.internal/labels?password={}",
        "postgresql://bob@db.internal/labels?user=bob&sslpassword={}&sslmode=require",
        "postgresql:///labels?host=/run/pg&password={}",
    ],
)
def test_no_part_of_a_database_password_is_ever_shown(loaded, url, password):
    """Neither masking nor show nor repr nor a dump lets a password through, whatever its characters."""
    url = url.format(password)
    assert "c4n4ry" not in masked_url(url)
    result = loaded(LOCAL_LANE, {"MODWORKER_DATABASE__URL": url, "MODWORKER_WORKER__HTTP_TOKEN": "c4n4ry"})
    assert result.settings.database.url.get_secret_value() == url
    assert "c4n4ry" not in f"{show(result)} {result!r} {result} {result.settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("embedded", "embedded"),
        ("postgresql://bob@db.internal:5432/labels", "postgresql://bob@db.internal:5432/labels"),
        ("postgresql://bob:x@a:1,b:2/labels?sslmode=require", "postgresql://bob:***@a:1,b:2/labels?sslmode=require"),
        ("postgresql:///labels?host=/run/pg&user=bob", "postgresql:///labels?host=/run/pg&user=bob"),
        ("postgresql://bob@h/labels?options=x", "postgresql://bob@h/labels?options=***"),
        ("host=h password=x", "***"),
        ("postgresql://[", "postgresql://***"),
    ],
)
def test_a_masked_url_still_tells_which_database_it_is(url, shown):
    """What is known to be harmless stays readable."""
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        '[database]\nurl = "mysql://bob:c4n4ry@h/d"',
        '[database]\nurl = { password = "c4n4ry" }',
        '[database]\nurl = ["c4n4ry"]',
        '[database]\ndata_dir = "x"\npool_size = "postgresql://bob:c4n4ry@h/d"',
        '[database]\nurll = "postgresql://bob:c4n4ry@h/d"',
        '[database]\npassword = "c4n4ry"',
        "[worker]\nhttp_token = 404.40e4\nhttp_tokn = 'c4n4ry'",
        '[worker]\nhttp_listen = "postgresql://bob:c4n4ry@h/d"',
        '[worker]\nhttp_listen = "https://h/?X-Amz-Signature=c4n4ry"',
        "[worker.http_token]\nvalue = 'c4n4ry'",
        '[local]\nendpoints = { s3 = "https://bob:c4n4ry@h/" }',
        'database = "postgresql://bob:c4n4ry@h/d"',
        'worker = ["c4n4ry"]',
    ],
)
def test_no_secret_is_part_of_a_mistake(mistakes, text):
    """A wrong value that is, or may hold, a secret is not repeated."""
    found = " ".join(mistakes(LOCAL_LANE + text if text.startswith("[") else text + "\n" + LOCAL_LANE))
    assert "c4n4ry" not in found
    assert "404" not in found


def test_no_secret_of_the_environment_is_part_of_a_mistake(mistakes):
    """A secret in a wrong variable is not repeated either."""
    url = "postgresql://bob:c4n4ry@h/d"
    for variable in ("DATABASE", "DATABASE__URI", "DATABASE__URL__X", "LANES", "LANES__MAIN__ENDPOINT_URL", "X"):
        assert "c4n4ry" not in " ".join(mistakes(LOCAL_LANE, {f"MODWORKER_{variable}": url}))


def test_show_gives_each_setting_with_its_source(loaded, tmp_path):
    """Values of nested tables are shown with the file, the variable, or "default" as their source."""
    result = loaded(
        LOCAL_LANE + 'endpoints = { s3 = "http://127.0.0.1:1", sqs = "http://127.0.0.1:2" }\n[worker]\nname = "Ü"',
        {"MODWORKER_LANES__MAIN__ENDPOINTS__SQS": "http://127.0.0.1:3", "MODWORKER_WORKER__HTTP_TOKEN": "t"},
    )
    shown = {path: (value, source) for path, value, source in show(result)}
    file = str(tmp_path / "worker.toml")
    assert shown["lanes.main.region"] == ('"us-east-1"', file)
    assert shown["lanes.main.endpoints.s3"] == ('"http://127.0.0.1:1"', file)
    assert shown["lanes.main.endpoints.sqs"] == ('"http://127.0.0.1:3"', "MODWORKER_LANES__MAIN__ENDPOINTS__SQS")
    assert shown["lanes.main.endpoints.sts"] == ("null", "default")
    assert shown["lanes.main.concurrent_jobs"] == ("20", "default")
    assert shown["worker.name"] == ('"Ü"', file)
    assert shown["worker.http_token"] == ('"**********"', "MODWORKER_WORKER__HTTP_TOKEN")
    assert shown["database.url"] == ('"embedded"', "default")
    assert shown["database.data_dir"] == ('".modworker"', "default")


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b'[worker]\nname = "\xff"', "is not UTF-8 text at byte 17; save it as UTF-8"),
        (b"x = 1\n" * 200_000, "is larger than 1 MiB; name a config file with --config"),
        (b"x = " + b"[" * 100_000, "is nested too deeply; name a config file with --config"),
        (b"[worker", "is not TOML: "),
        (b"x = " + b"1" * 5000, "is not TOML: "),
        (b"\x00", "is not TOML: "),
    ],
)
def test_a_file_that_is_no_config_file_is_refused_in_words(tmp_path, content, advice):
    """Bytes that are no TOML give one sentence."""
    path = tmp_path / "worker.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (mistake,) = caught.value.mistakes
    assert (mistake.path, mistake.advice[: len(advice)]) == ("file", advice)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.toml", "No such file or directory"),
        (".", "Is a directory"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path, path, reason):
    """The operating system's reason is given, and what to do."""
    with pytest.raises(ConfigError, match=re.escape(f"file: cannot be read ({reason}); name a config file")):
        load(tmp_path / path, {})


def test_an_endless_file_is_refused(tmp_path):
    """A device that never ends is not read to its end."""
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(Path("/dev/zero"), {})


def test_a_mark_before_the_text_is_ignored(tmp_path):
    """Files of editors that write a byte order mark load."""
    path = tmp_path / "worker.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LOCAL_LANE.encode())
    assert load(path, {}).settings.lanes["main"].is_local


def test_a_hundred_lanes_load_at_once(loaded):
    """The largest planned configuration costs a fraction of a second, faulty or not."""
    text = "".join(
        f"[lanes.l{number}]{LANE.replace('/moderation', f'/q{number}')}concurrent_jobs = 7\n" for number in range(100)
    )
    before = time.process_time()
    assert len(loaded(text, dict(os.environ)).settings.lanes) == 100
    with pytest.raises(ConfigError):
        loaded(text.replace("concurrent_jobs = 7", "concurrent_jobs = 0"))
    assert time.process_time() - before < 1


def test_the_local_configuration_is_a_default_account_sixty_times_as_fast():
    """config/local.toml speeds a fresh account's rates up as much as its jobs."""
    settings = load(CONFIG / "local.toml", {}).settings
    (lane,) = settings.lanes.values()
    default = Lane(region="us-east-1")
    assert lane.is_local
    assert settings.local.speed == 60
    quotas = settings.local.quotas
    assert quotas.start_per_second == default.start_per_second == lane.start_per_second / settings.local.speed
    assert quotas.get_per_second == default.get_per_second == lane.get_per_second / settings.local.speed
    assert quotas.concurrent_jobs == default.concurrent_jobs == lane.concurrent_jobs
    assert settings.database == Database(url="embedded", data_dir=".modworker")
    assert settings.worker.http_listen == "127.0.0.1:0"


def test_the_example_loads_as_it_is():
    """An operator's first copy of the example has no mistake and one lane."""
    assert list(load(CONFIG / "worker.example.toml", {}).settings.lanes) == ["main"]


def test_the_example_names_every_setting_with_its_default(tmp_path):
    """With all its comments taken off, the example sets every key, and to its default where it says no other."""
    text = (CONFIG / "worker.example.toml").read_text(encoding="utf-8")
    path = tmp_path / "worker.toml"
    path.write_text(re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE), encoding="utf-8")
    example = _leaves(tomllib.loads(path.read_text(encoding="utf-8")))
    plain = Settings(lanes={"main": Lane(region="us-east-1")}).model_dump(mode="json")
    plain["database"]["url"] = "embedded"
    defaults = _leaves(plain)
    second_lane = {name for name in example if name.startswith("lanes.ireland.")}
    assert set(example) - second_lane == set(defaults)
    changed = {name for name in defaults if example[name] != defaults[name]}
    fixed = {f"lanes.main.{key}" for key in ("queue_url", "sns_topic_arn", "publish_role_arn")}
    fixed |= {f"lanes.main.arrivals.{key}" for key in ("queue_url", "match", "exclude")}
    optional = {name for name in defaults if defaults[name] is None}
    assert changed == {"database.url"} | fixed | optional
    assert set(load(path, {}).settings.lanes) == {"main", "ireland"}


def _leaves(tree, above=""):
    found = {}
    for key, value in tree.items():
        found |= _leaves(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def test_the_committed_schema_is_fresh():
    """config/config.schema.json is what `modworker config schema` prints."""
    committed = json.loads((CONFIG / "config.schema.json").read_text(encoding="utf-8"))
    assert committed == schema(), "run: modworker config schema > config/config.schema.json"


@pytest.mark.parametrize("name", ["local.toml", "worker.example.toml"])
def test_the_schema_accepts_the_committed_files(name):
    """Editors find the schema beside the files, and no fault in them."""
    path = CONFIG / name
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    beside = path.parent / first_line.removeprefix("#:schema ")
    validator = jsonschema.Draft202012Validator(json.loads(beside.read_text(encoding="utf-8")))
    validator.validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_the_schema_refuses_unknown_keys():
    """An editor marks a misspelt key, and a lane without its region."""
    validator = jsonschema.Draft202012Validator(schema())
    assert not validator.is_valid({"worker": {"lease": 5}})
    assert not validator.is_valid({"lanes": {"main": {}}})


def test_a_copy_of_the_local_file_loads_from_any_folder(tmp_path):
    """Nothing in the file depends on where it lies."""
    shutil.copy(CONFIG / "local.toml", tmp_path)
    assert load(tmp_path / "local.toml", {}).settings == load(CONFIG / "local.toml", {}).settings


def test_changes_are_told_apart(written):
    """Quotas are adjusted, other keys of a lane open it anew, lanes come and go; the rest waits for a start."""

    def lane(name: str, more: str = "") -> str:
        return f"[lanes.{name}]{LANE.replace('/moderation', f'/{name}')}{more}\n"

    def settings(text: str) -> Settings:
        return load(written(text), {}).settings

    old = settings(lane("a") + lane("b") + lane("c"))
    nothing = Changes(lanes=old.lanes, adjusted=[], reopened=[], added=[], removed=[], later=[])
    assert changes_between(old, old) == nothing
    new = settings(
        "[worker]\nlease_seconds = 9\n[database]\nurl = 'postgresql://h/d'\n"
        + lane("a", "get_per_second = 7")
        + lane("b", "get_per_second = 7\nprofile = 'p'")
        + lane("d")
    )
    assert changes_between(old, new) == Changes(
        lanes=new.lanes,
        adjusted=["a"],
        reopened=["b"],
        added=["d"],
        removed=["c"],
        later=["database.url", "worker.lease_seconds"],
    )


def test_lanes_of_the_local_service_come_with_a_start(written):
    """The service has its lanes from its start on; only what the worker itself heeds changes at once."""
    old = load(written(LOCAL_LANE), {}).settings
    new = load(written(f"{LOCAL_LANE}get_per_second = 7\n{LOCAL_LANE.replace('main', 'other')}"), {}).settings
    changes = changes_between(old, new)
    assert (changes.adjusted, changes.added, changes.later) == (["main"], [], ["lanes.other"])
    assert changes.lanes == {"main": new.lanes["main"]}
    changes = changes_between(new, old)
    assert (changes.removed, changes.later) == ([], ["lanes.other"])
    assert changes.lanes == {"main": old.lanes["main"], "other": new.lanes["other"]}
