"""What makes a job the same job."""

from __future__ import annotations

import re

from worker.model import identity_of, tag_of, token_of

IDENTITY = identity_of("default", "archive", "2024/a.mp4", "v1", 50.0, "")


def test_token_is_made_from_identity_and_generation_alone():
    """Whoever asks, on whatever machine: the same job has the same token, or a restored database pays again."""
    assert token_of(IDENTITY, 1) == "be3c5b5bed1f9d428535214c046976baa7c54c728ffd0f2cbce535895bdc62d7"
    assert token_of(IDENTITY, 1) == token_of(IDENTITY, 1) != token_of(IDENTITY, 2)


def test_token_and_tag_are_of_the_form_that_aws_takes():
    """The patterns of ClientRequestToken and JobTag."""
    token = token_of(IDENTITY, 1)
    assert re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", token)
    assert re.fullmatch(r"[a-zA-Z0-9_.\-:+=\/]{1,1024}", tag_of(token))


def test_each_part_of_an_identity_makes_another_one():
    """No part can be moved into its neighbour."""
    parts = ("default", "archive", "a.mp4", "v1", 50.0, "")
    others = [
        ("other", "archive", "a.mp4", "v1", 50.0, ""),
        ("default", "archiv", "ea.mp4", "v1", 50.0, ""),
        ("default", "archive", "a.mp4", "v2", 50.0, ""),
        ("default", "archive", "a.mp4", "v1", 60.0, ""),
        ("default", "archive", "a.mp4", "v1", 50.0, "2"),
    ]
    assert len({identity_of(*each) for each in (parts, *others)}) == 6
