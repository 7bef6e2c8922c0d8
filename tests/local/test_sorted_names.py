"""Names of a folder in their order, in memory and in files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.local.storage.sorted_names import in_order

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
FIRSTS = st.text(max_size=6)


@given(names=st.sets(NAMES, max_size=30), firsts=st.lists(FIRSTS, max_size=5), most_in_memory=st.integers(1, 40))
def test_names_are_found_from_anywhere(names: set[str], firsts: list[str], most_in_memory: int) -> None:
    """From whatever text on, the names come in the order of their characters, however few fit into memory."""
    kept = in_order((name.encode() for name in names), most_in_memory)
    assert kept.is_in_file == (len(names) >= most_in_memory)
    for first in ["", *firsts, *names]:
        assert list(kept.since(first)) == sorted(name for name in names if name >= first)
