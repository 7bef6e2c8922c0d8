"""The labels of Rekognition's moderation model 7.0.

Source: https://docs.aws.amazon.com/rekognition/latest/dg/moderation.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

MODEL_VERSION = "7.0"


class Label(msgspec.Struct, frozen=True):
    """A label: `parent` is the name one level up, "" at the top; `level` is 1, 2 or 3."""

    name: str
    parent: str
    level: int


_TREE: dict[str, dict[str, tuple[str, ...]]] = {
    "Explicit": {
        "Explicit Nudity": (
            "Exposed Male Genitalia",
            "Exposed Female Genitalia",
            "Exposed Buttocks or Anus",
            "Exposed Female Nipple",
        ),
        "Explicit Sexual Activity": (),
        "Sex Toys": (),
    },
    "Non-Explicit Nudity of Intimate parts and Kissing": {
        "Non-Explicit Nudity": (
            "Bare Back",
            "Exposed Male Nipple",
            "Partially Exposed Buttocks",
            "Partially Exposed Female Breast",
            "Implied Nudity",
        ),
        "Obstructed Intimate Parts": ("Obstructed Female Nipple", "Obstructed Male Genitalia"),
        "Kissing on the Lips": (),
    },
    "Swimwear or Underwear": {
        "Female Swimwear or Underwear": (),
        "Male Swimwear or Underwear": (),
    },
    "Violence": {
        "Weapons": (),
        "Graphic Violence": (
            "Weapon Violence",
            "Physical Violence",
            "Self-Harm",
            "Blood & Gore",
            "Explosions and Blasts",
        ),
    },
    "Visually Disturbing": {
        "Death and Emaciation": ("Emaciated Bodies", "Corpses"),
        "Crashes": ("Air Crash",),
    },
    "Drugs & Tobacco": {
        "Products": ("Pills",),
        "Drugs & Tobacco Paraphernalia & Use": ("Smoking",),
    },
    "Alcohol": {
        "Alcohol Use": ("Drinking",),
        "Alcoholic Beverages": (),
    },
    "Rude Gestures": {"Middle Finger": ()},
    "Gambling": {},
    "Hate Symbols": {"Nazi Party": (), "White Supremacy": (), "Extremist": ()},
}


def _labels(tree: Mapping[str, Mapping[str, tuple[str, ...]]]) -> Iterator[Label]:
    for top, middles in tree.items():
        yield Label(top, "", 1)
        for middle, leaves in middles.items():
            yield Label(middle, top, 2)
            for leaf in leaves:
                yield Label(leaf, middle, 3)


TAXONOMY: tuple[Label, ...] = tuple(_labels(_TREE))
"""Every label, each after its parent."""
