"""Splitting sequences into batches."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.batching import split_into_batches


@given(st.lists(st.integers(0, 30)), st.integers(1, 40), st.integers(1, 6))
def test_batches_are_complete_in_order_within_the_limits_and_as_long_as_possible(
    sizes: list[int], max_size: int, max_items: int
) -> None:
    found = list(split_into_batches(sizes, lambda size: size, max_size=max_size, max_items=max_items))
    assert [size for batch in found for size in batch] == sizes
    assert all(len(batch) == 1 or sum(batch) <= max_size for batch in found)
    assert all(0 < len(batch) <= max_items for batch in found)
    for batch, following in pairwise(found):
        assert len(batch) == max_items or sum(batch) + following[0] > max_size
