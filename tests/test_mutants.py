"""The wrong versions are still wrong versions of this program; `make soak` sees that each is caught."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS, Mutant, place_of


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_place_that_a_mutant_changes_is_there_once(mutant: Mutant):
    """A change of the program cannot leave a mutant that changes nothing."""
    assert place_of(mutant) == 1
    assert mutant.wrong != mutant.right
