from __future__ import annotations

from collections import Counter

from worker.local.analysts.taxonomy import MODEL_VERSION, TAXONOMY


def test_counts_of_the_levels():
    """Model 7.0 has 10 labels at the top, 20 below them and 22 at the bottom."""
    assert MODEL_VERSION == "7.0"
    assert Counter(label.level for label in TAXONOMY) == {1: 10, 2: 20, 3: 22}


def test_names_are_unique():
    """A name says which label is meant, without its parent."""
    assert len({label.name for label in TAXONOMY}) == len(TAXONOMY)


def test_parents_are_one_level_up():
    """Every label has its parent one level up and listed before it; those at the top have none."""
    levels = {"": 0}
    for label in TAXONOMY:
        assert levels[label.parent] == label.level - 1, label
        levels[label.name] = label.level


def test_spelling_that_is_easily_mistaken():
    """Names are spelled as the model spells them, not as its forerunner or a title would."""
    names = {label.name for label in TAXONOMY}
    assert {
        "Swimwear or Underwear",
        "Non-Explicit Nudity of Intimate parts and Kissing",
        "Exposed Buttocks or Anus",
        "Blood & Gore",
        "Self-Harm",
        "Drugs & Tobacco Paraphernalia & Use",
    } <= names
