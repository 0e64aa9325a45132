"""Long sequences in pieces."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.batching import pieces


@given(st.lists(st.integers(0, 30)), st.integers(1, 40), st.integers(1, 6))
def test_pieces_are_the_whole_in_order_each_within_the_limits_and_none_could_take_the_next_item(
    sizes: list[int], most_size: int, most_items: int
) -> None:
    found = list(pieces(sizes, lambda size: size, most_size=most_size, most_items=most_items))
    assert [size for piece in found for size in piece] == sizes
    assert all(len(piece) == 1 or sum(piece) <= most_size for piece in found)
    assert all(0 < len(piece) <= most_items for piece in found)
    for piece, following in pairwise(found):
        assert len(piece) == most_items or sum(piece) + following[0] > most_size
