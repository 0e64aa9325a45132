"""Arrays of token ids, and the texts that they stand for."""

import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st

from sekha_llm_bridge.pricing import Tokenizer, decode_token_arrays
from sekha_llm_bridge.pricing.token_table import TokenTable
from sekha_llm_bridge.pricing.tokenizer import PIECES

TABLE = TokenTable.load(Tokenizer.CL100K.value)
CL100K = tiktoken.Encoding(
    "cl100k_base",
    pat_str=PIECES[Tokenizer.CL100K],
    mergeable_ranks={token: rank for rank, token in enumerate(TABLE)},
    special_tokens={"<|endoftext|>": 100257, "<|endofprompt|>": 100276},
)


@given(st.lists(st.text(), max_size=4))
@example(["<|endoftext|>", "naïve 👍🏽\r\n", "\x00"])
def test_token_ids_of_tiktoken_decode_to_the_same_text(texts: list[str]) -> None:
    assert decode_token_arrays([CL100K.encode_ordinary(text) for text in texts]) == texts


@given(st.lists(st.integers(0, 100_255), max_size=20))
def test_token_ids_decode_to_the_same_text_as_with_tiktoken(ids: list[int]) -> None:
    assert decode_token_arrays([ids]) == [CL100K.decode(ids)]


def test_a_cut_character_becomes_the_replacement_character() -> None:
    ids = CL100K.encode_ordinary("ok 👍")
    assert decode_token_arrays([ids[:-1], ids[-1:]]) == ["ok \ufffd", "\ufffd"]


@pytest.mark.parametrize("unfit", [-1, 100_256, 100_257, 100_258, 100_260, 100_276, 100_277, 2**63])
def test_special_tokens_and_ids_out_of_range_are_refused_by_their_number(unfit: int) -> None:
    with pytest.raises(ValueError, match=rf"^{unfit} is not the id of a token of text.* 0 to 100255"):
        decode_token_arrays([[1, 2], [3, unfit, 4]])


@pytest.mark.parametrize("odd", [True, 1.0, None, "secret", [1]])
def test_token_ids_that_are_no_integers_are_refused_without_being_quoted(odd: object) -> None:
    with pytest.raises(ValueError, match="nothing but whole numbers") as caught:
        decode_token_arrays([[1, odd]])
    assert "secret" not in str(caught.value)


def test_token_ids_that_decode_to_more_text_than_a_request_may_have_are_refused() -> None:
    spaces = CL100K.encode_ordinary(" " * 80)
    assert len(spaces) == 1
    most = 6 * 1024 * 1024 // 80
    assert sum(map(len, decode_token_arrays([spaces * (most - 1), spaces]))) == most * 80
    with pytest.raises(ValueError, match="at most 6291456 bytes"):
        decode_token_arrays([spaces * most, spaces])
