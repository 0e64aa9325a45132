"""Token counts: bounds that no count exceeds, exact ones where a tokenizer is known, and images."""

import base64
import functools
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st
from tiktoken.model import encoding_name_for_model
from tiktoken_ext import openai_public

from infra.tokens import pack_table
from infra.tokens.pack_table import packed
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import Conversation, Document, Media, Message, OtherTool, Role, Text
from sekha_llm_bridge.pricing import TokenCount, Tokenizer, count_chat, count_texts, image_tokens, tokenizer_of
from sekha_llm_bridge.pricing.token_table import TokenTable
from sekha_llm_bridge.pricing.tokenizer import PIECES, upper_bound_tokens
from tests.fakes.openai_format import count
from tests.fakes.settings import chat_model, provider
from token_bench.corpus import corpus, tools

CORPUS = corpus()
each_text = pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS.keys())
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|", "|>"]
# Characters that begin, join, end or break pieces, and runs of them: what random text hardly ever holds.
PIECEWISE = [
    "a",
    "B",
    "é",
    "的",
    "가",
    "1",
    "٣",
    "½",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u00a0",
    "\u3000",
    "'s",
    "'",
    "/",
]
PIECEWISE += [".", "。", "́", "👍🏽", "\u200d", "\x1c", "ǅ", "ʰ", "The", " cat", "camelCase", "=====", "    ", *SPECIAL]

texts = st.one_of(
    st.text(),
    st.lists(st.sampled_from(PIECEWISE), max_size=30).map("".join),
    st.sampled_from([text[start : start + 200] for text in CORPUS.values() for start in (0, 77, 300)]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
images = st.just({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})
parts = st.lists(texts.map(lambda text: {"type": "text", "text": text}) | images, max_size=4)
calls = st.builds(
    lambda name, arguments: [
        {"id": "c1", "type": "function", "function": {"name": name, "arguments": orjson.dumps(arguments).decode()}}
    ],
    texts,
    json_values,
)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user"]), "content": texts | parts}),
    st.fixed_dictionaries({"role": st.just("user"), "name": texts, "content": texts}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none() | texts, "tool_calls": calls}),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": st.just("c1"), "content": texts | parts}),
)
functions = st.builds(
    lambda name, described, parameters: [
        {"type": "function", "function": {"name": name, "description": described, "parameters": parameters}}
    ],
    texts,
    texts,
    st.dictionaries(texts, json_values, max_size=3),
)


def _json_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


requests = st.fixed_dictionaries(
    {"messages": st.lists(messages, max_size=4)},
    optional={"tools": functions, "response_format": json_values.map(_json_schema)},
)


def published_table(tokenizer: Tokenizer) -> bytes:
    """The package's table in the form that OpenAI publishes."""
    tokens = TokenTable.load(tokenizer.value)
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))


Definition = tuple[dict[str, Any], str]
Count = Callable[[str], int]


def tiktokens_own(tokenizer: Tokenizer) -> Definition:
    """tiktoken's definition of a tokenizer without its ranks, which it would fetch; and the checksum of those."""
    checksums = []

    def load(_url: str, expected_hash: str) -> dict[bytes, int]:
        checksums.append(expected_hash)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_public, "load_tiktoken_bpe", load)
        definition = getattr(openai_public, tokenizer.value)()
    return definition, checksums[0]


@functools.cache
def counter(tokenizer: Tokenizer) -> Count:
    """Counts tokens as tiktoken does with the published table."""
    published = published_table(tokenizer).splitlines()
    ranks = {base64.b64decode(line.split()[0]): rank for rank, line in enumerate(published)}
    encoding = tiktoken.Encoding(**{**tiktokens_own(tokenizer)[0], "mergeable_ranks": ranks})
    return lambda text: len(encoding.encode_ordinary(text))


@pytest.fixture(scope="module")
def o200k() -> Count:
    """Counts tokens of o200k_base as tiktoken does."""
    return counter(Tokenizer.O200K)


each_tokenizer = pytest.mark.parametrize("tokenizer", Tokenizer)


@each_tokenizer
def test_the_table_is_the_published_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    published = published_table(tokenizer)
    assert hashlib.sha256(published).hexdigest() == tiktokens_own(tokenizer)[1]
    source = tmp_path / "published"
    source.write_bytes(published)
    pack_table.main([tokenizer.value, str(source)], tmp_path)
    made = f"{tokenizer.value}.bin"
    assert (tmp_path / made).read_bytes() == (pack_table.FOLDER / made).read_bytes()


@pytest.mark.parametrize("arguments", [[], ["o200k_base"], ["p50k_base", __file__], ["cl100k_base", "nowhere"]])
def test_a_table_that_is_not_named_or_not_there_is_not_packed(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="NAME"):
        pack_table.main(arguments, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_with_a_missing_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2 has rank 7 instead of 1"):
        packed(b"YQ== 0\nYg== 7\n")


@each_tokenizer
def test_text_is_split_into_the_same_pieces_as_by_tiktoken(tokenizer: Tokenizer) -> None:
    assert tiktokens_own(tokenizer)[0]["pat_str"] == PIECES[tokenizer]


def billed(request: dict[str, Any], count: Count, join: str) -> int:
    """The tokens of a request in a template like OpenAI's, which puts special tokens between the messages."""
    total = 3 + sum(count(orjson.dumps(request[key]).decode()) for key in request.keys() - {"messages"})
    for message in request["messages"]:
        content = message["content"] or ""
        if isinstance(content, list):
            content = join.join(part["text"] for part in content if part["type"] == "text")
        total += 4 + count(message["role"]) + count(message.get("name", "")) + count(content)
        total += count(orjson.dumps(message["tool_calls"]).decode()) if "tool_calls" in message else 0
    return total


@given(requests, st.sampled_from(["", "\n", " "]))
@example({"messages": []}, "")
def test_no_bound_is_below_the_billed_tokens_and_the_exact_bound_is_not_above_the_other(
    o200k: Count, request: dict[str, Any], join: str
) -> None:
    counts = count(request)
    assert billed(request, o200k, join) <= counts.bound_for(Tokenizer.O200K) <= counts.bound
    assert counts.bound_for(None) == counts.bound


@each_text
def test_bounds_are_not_exceeded_and_estimates_are_close_for_texts_of_every_kind(text: str, o200k: Count) -> None:
    request = {"messages": [{"role": "user", "content": text}]}
    counts, real = count(request), billed(request, o200k, "")
    assert real <= counts.bound_for(Tokenizer.O200K) <= counts.bound
    assert real / 3 < counts.estimate < real * 3.5
    assert counts.minimum <= counts.estimate <= counts.bound


@pytest.mark.parametrize(
    "kind", ["english", "german", "russian", "hindi", "chinese", "japanese", "korean", "emoji", "python", "json", "sql"]
)
def test_the_estimate_of_usual_text_is_within_a_fifth_and_the_exact_bound_close(kind: str, o200k: Count) -> None:
    request = {"messages": [{"role": "user", "content": CORPUS[kind] * 4}]}
    counts, real = count(request), billed(request, o200k, "")
    assert 0.8 * real < counts.estimate < 1.2 * real
    assert counts.bound_for(Tokenizer.O200K) < 1.2 * real + 100


@each_tokenizer
@given(texts, texts, texts)
@example("12", "3456 789", "0")
@example("", "  \n x", "")
@example("a", "b 's", "t")
@example(" ", "\n\n", "\n")
@example("", "don't 'S x\u0301y", " \n ")
def test_the_maximum_tokens_of_a_text_hold_at_any_position(
    tokenizer: Tokenizer, before: str, text: str, after: str
) -> None:
    outside = len(before.encode()) + len(after.encode())
    assert counter(tokenizer)(before + text + after) <= outside + upper_bound_tokens([text], tokenizer)


@each_tokenizer
@given(st.lists(texts, max_size=5), st.sampled_from(["", " ", "\n\n"]))
def test_joined_texts_have_no_more_tokens_than_their_sum(
    tokenizer: Tokenizer, given_texts: list[str], join: str
) -> None:
    joints = len(join) * max(0, len(given_texts) - 1)
    assert counter(tokenizer)(join.join(given_texts)) <= joints + upper_bound_tokens(given_texts, tokenizer)


@each_tokenizer
@pytest.mark.parametrize("run", ["a", "A", " ", "\t", "\n", "1", "!", "的", "\u0301", " \n", "A\u0301"])
def test_the_longest_texts_that_are_counted_can_be_counted(run: str, tokenizer: Tokenizer) -> None:
    text = "start " + run * (899_000 // len(run.encode())) + " the end."
    real = counter(tokenizer)(text)
    assert real <= upper_bound_tokens([text], tokenizer) < 100 + real


def test_a_text_too_long_to_be_counted_is_bounded_by_its_bytes() -> None:
    long, short = "the cat sat " * 75_001, "the cat sat " * 100
    assert upper_bound_tokens([long], Tokenizer.O200K) == len(long)
    assert upper_bound_tokens([long, short], Tokenizer.O200K) - len(long) < len(short) / 3
    assert upper_bound_tokens([short] * 1000, Tokenizer.O200K) > len(short) * 240


def test_texts_with_special_tokens_are_bounded_by_bytes() -> None:
    text = "one two three <|endoftext|> four"
    assert upper_bound_tokens([text], Tokenizer.O200K) == len(text)


def test_a_tools_answer_is_bounded_by_bytes_because_it_may_be_shown_as_json_again() -> None:
    counts = count({"messages": [{"role": "tool", "tool_call_id": "1", "content": "the cat sat " * 50}]})
    assert counts.bound_for(Tokenizer.O200K) == counts.bound


def test_the_exact_bound_is_computed_on_demand_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def upper_bound(texts: list[str], tokenizer: Tokenizer) -> int:
        calls.append(texts)
        return upper_bound_tokens(texts, tokenizer)

    monkeypatch.setattr("sekha_llm_bridge.pricing.tokens.upper_bound_tokens", upper_bound)
    counts = count({"messages": [{"role": "user", "content": "the cat sat on the mat"}]})
    assert counts.bound_for(None) == counts.bound
    assert calls == []
    assert counts.bound_for(Tokenizer.O200K) == counts.bound_for(Tokenizer.O200K) < counts.bound
    assert calls == [["the cat sat on the mat"]]


def test_counts_are_compared_and_displayed_by_their_numbers() -> None:
    request = {"messages": [{"role": "user", "content": "Hello"}]}
    counted = count(request)
    assert counted == count(request) == TokenCount(counted.estimate, counted.bound, counted.minimum)
    assert "tight" not in repr(counted)
    assert hash(counted) == hash(count(request))


FRAME = 4  # what the bound allows for each text beside its own tokens


@each_tokenizer
@given(st.lists(texts, max_size=5))
@example(["<|endoftext|>"])
def test_the_exact_bound_of_texts_to_embed_is_the_sum_of_their_tokens(
    tokenizer: Tokenizer, given_texts: list[str]
) -> None:
    count = count_texts(given_texts)
    plain = [text for text in given_texts if "<|endoftext|>" not in text]
    special = [text for text in given_texts if "<|endoftext|>" in text]
    real = sum(map(counter(tokenizer), plain)) + sum(len(text.encode()) for text in special)
    assert count.bound_for(tokenizer) <= count.bound == count.bound_for(None)
    assert count.bound_for(tokenizer) >= real + FRAME * len(given_texts)
    if not any(odd in text for text in given_texts for odd in SPECIAL):
        assert count.bound_for(tokenizer) == real + FRAME * len(given_texts)


def test_texts_to_embed_that_are_too_long_to_be_counted_are_bounded_by_bytes() -> None:
    long, short = "the cat sat " * 75_001, "the cat sat on the mat"
    count = count_texts([long, short])
    assert count.bound_for(Tokenizer.CL100K) == len(long) + 6 + 2 * FRAME


def test_texts_to_embed_are_counted_on_demand_and_once() -> None:
    then = """
count = count_texts(["the cat sat on the mat"] * 9)
print('tiktoken' in sys.modules, count.bound_for(Tokenizer.CL100K), count.bound, 'tiktoken' in sys.modules)
"""
    assert in_a_fresh_process("from sekha_llm_bridge.pricing import count_texts", then) == "False 90 234 True"


OPENAI, ELSEWHERE = "https://api.openai.com/v1", "https://llm.example.org/v1"
AZURE = "https://mine.openai.azure.com/openai/v1"
KNOWN = ["gpt-4o", "gpt-4o-mini", "gpt-4o-2024-08-06", "gpt-4.1", "gpt-4.1-nano-2025-04-14", "gpt-5", "gpt-5-mini"]
KNOWN += ["o1", "o1-preview", "o3-mini", "o4-mini", "o4-mini-2025-04-16", "chatgpt-4o-latest", "gpt-4.5-preview"]
KNOWN += ["ft:gpt-4o-mini-2024-07-18:my-org:name:abc123"]
UNKNOWN = ["gpt-4", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-5.6", "gpt-5.6-sol", "gpt-50", "gpt-6", "gpt-oss-120b", "o5"]
UNKNOWN += [
    "text-embedding-3-tiny",
    "text-embedding-3-small-2",
    "ft:gpt-4-0613:org::x",
    "my-gpt-4o",
    "gpt-4o-mini:online",
    "claude-opus-4-7",
    "",
]
UNKNOWN += ["gpt-4o-search-preview", "gpt-5-search-api", "o4-mini-deep-research"]


def tokenizer(model_id: str, kind: str = "openai", base_url: str | None = OPENAI) -> Tokenizer | None:
    config = provider("p", chat_model("m"), provider_type=kind, base_url=base_url)
    return tokenizer_of(ProviderConfig.model_validate(config), model_id)


EMBEDDING = ["text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"]


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [*((model_id, Tokenizer.O200K) for model_id in KNOWN), *((model_id, Tokenizer.CL100K) for model_id in EMBEDDING)],
)
def test_models_with_an_encoding_in_tiktoken_are_known(model_id: str, expected: Tokenizer) -> None:
    assert encoding_name_for_model(model_id) == expected.value
    assert tokenizer(model_id) is expected
    assert tokenizer(model_id, "azure_openai", AZURE) is expected


@pytest.mark.parametrize("model_id", UNKNOWN)
def test_other_models_have_no_assumed_encoding(model_id: str) -> None:
    assert tokenizer(model_id) is None
    assert tokenizer(f"openai/{model_id}", "openrouter", None) is None


@pytest.mark.parametrize(
    ("model_id", "kind", "base_url"),
    [
        ("gpt-4o", "openai", ELSEWHERE),
        ("gpt-4o", "openai", "https://api.openai.com.example.org/v1"),
        ("gpt-4o", "litellm", ELSEWHERE),
        ("text-embedding-3-small", "openai", ELSEWHERE),
        ("text-embedding-3-small", "litellm", ELSEWHERE),
        ("gpt-4o", "ollama", "http://localhost:11434"),
        ("gpt-4o", "openrouter", None),
        ("other/gpt-4o", "openrouter", None),
        ("openai/gpt-4o", "openrouter", ELSEWHERE),
        ("openai/gpt-4o", "openai", OPENAI),
    ],
)
def test_a_model_name_has_no_price_at_an_address_that_serves_any_model(
    model_id: str, kind: str, base_url: str | None
) -> None:
    assert tokenizer(model_id, kind, base_url) is None


def test_openais_regional_addresses_and_openrouter_serve_its_models() -> None:
    assert tokenizer("gpt-4o", base_url="https://eu.api.openai.com/v1") is Tokenizer.O200K
    assert tokenizer("openai/gpt-4o-mini", "openrouter", None) is Tokenizer.O200K
    assert tokenizer("openai/text-embedding-3-large", "openrouter", None) is Tokenizer.CL100K


FRESH = """
import sys
{first}
from sekha_llm_bridge.conversation import Conversation, Message, Role, Text
from sekha_llm_bridge.pricing import Tokenizer, count_chat
count = count_chat(Conversation((Message(Role.USER, (Text("the cat sat on the mat " * 20),)),)))
{then}
"""


def in_a_fresh_process(first: str, then: str) -> str:
    code = FRESH.format(first=first, then=then)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_tiktoken_is_imported_only_for_an_exact_count() -> None:
    then = "print('tiktoken' in sys.modules); count.bound_for(Tokenizer.O200K); print('tiktoken' in sys.modules)"
    assert in_a_fresh_process("", then).split() == ["False", "True"]


def test_exact_counts_need_neither_the_network_nor_tiktokens_network_packages() -> None:
    first = """
sys.modules.update(dict.fromkeys(["regex", "requests", "urllib3", "charset_normalizer"]))
def no_sockets(event, _):
    assert not event.startswith("socket."), event
sys.addaudithook(no_sockets)
"""
    assert in_a_fresh_process(first, "print(count.bound_for(Tokenizer.O200K) < count.bound / 2)") == "True"


def test_without_tiktoken_the_bound_is_the_bytes() -> None:
    then = "print(count.bound_for(Tokenizer.O200K) == count.bound)"
    assert in_a_fresh_process("sys.modules['tiktoken'] = None", then) == "True"


@pytest.mark.parametrize("raised", ["ValueError", "type('PanicException', (BaseException,), {})"])
def test_when_tiktoken_fails_the_bound_is_the_bytes(raised: str) -> None:
    first = f"""
import tiktoken
def fails(*_):
    raise {raised}("as it does for a million spaces")
tiktoken.Encoding.encode_ordinary = fails
"""
    then = "print(count.bound_for(Tokenizer.O200K) == count.bound)"
    assert in_a_fresh_process(first, then) == "True"


def test_an_interrupt_during_counting_is_raised() -> None:
    first = """
import tiktoken
def interrupted(*_):
    raise KeyboardInterrupt
tiktoken.Encoding.encode_ordinary = interrupted
"""
    then = """
try:
    count.bound_for(Tokenizer.O200K)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert in_a_fresh_process(first, then) == "interrupted"


def test_the_estimate_of_a_long_text_is_the_sum_of_its_parts() -> None:
    text = "".join(CORPUS.values())
    one, many = count_texts([text]).estimate, count_texts([text * 40]).estimate
    assert abs(many - 40 * one) <= 40


def test_the_bound_has_room_for_the_prompt_with_which_a_vendor_introduces_the_tools_of_earlier_calls() -> None:
    """Anthropic's adapter adds these tools where the request has none: a server may require them."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    text = count({"messages": [{"role": "assistant", "content": "f {}"}]})
    assert count({"messages": [{"role": "assistant", "tool_calls": [call]}]}).bound >= text.bound + 500


@pytest.mark.parametrize(("names", "billed"), [(["computer"], 3000), (["computer", "bash", "text_editor"], 5000)])
def test_the_bound_has_room_for_what_anthropic_adds_for_its_own_tools(names: list[str], billed: int) -> None:
    """804 tokens for any tools, 735 and 499 for a computer, 245 and 700 for a shell and an editor, and a third more of
    each with the tokenizers of newer models.
    """
    own = tuple(OtherTool(f"{name}_20250124", {"type": f"{name}_20250124", "name": name}) for name in names)
    hello = Conversation((Message(Role.USER, (Text("Hello"),)),))
    assert count_chat(hello._replace(tools=own)).bound >= count_chat(hello).bound + billed


def test_a_document_to_be_cited_has_more_tokens_for_each_sentence() -> None:
    def bound(text: str, *, wants_citations: bool) -> int:
        document = Document(Media("text/plain", text=text), wants_citations=wants_citations)
        return count_chat(Conversation((Message(Role.USER, (document,)),))).bound

    text = "A. " * 100
    assert bound(text, wants_citations=True) >= bound(text, wants_citations=False) + 1000 + 16 * 100


def test_tools_count_in_the_estimate() -> None:
    request = {"messages": [{"role": "user", "content": "What is the weather?"}]}
    assert count({**request, "tools": tools(3)}).estimate > count(request).estimate + 400


def tiles(width: int, height: int) -> int:
    """OpenAI's tiles of an image: within 2048 by 2048, then with the short side at most 768, in squares of 512."""
    scale = min(1, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    return -(-round(width * scale) // 512) * -(-round(height * scale) // 512)


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_no_image_size_is_billed_above_its_bound(width: int, height: int) -> None:
    for model_id, base, tile in (("gpt-4o", 85, 170), ("gpt-4o-mini", 2833, 5667), ("o1", 75, 150), ("gpt-5", 70, 140)):
        assert base + tile * tiles(width, height) <= image_tokens(model_id)[1]
    patches = -(-width // 32) * -(-height // 32)
    for model_id, most, factor in (("gpt-4.1-mini", 1536, 1.62), ("o4-mini", 1536, 1.72), ("gpt-6", 30_000, 1.2)):
        assert min(patches, most) * factor <= image_tokens(model_id)[1]


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("gpt-4o", (765, 1_445)),
        ("openai/gpt-4o-2024-08-06", (765, 1_445)),
        ("gpt-4o-mini", (25_501, 48_169)),
        ("openai/gpt-4o-mini", (25_501, 48_169)),
        ("gpt-4.1", (765, 1_445)),
        ("gpt-4.1-mini", (1_659, 2_489)),
        ("gpt-5-mini-2025-08-07", (1_659, 2_489)),
        ("gpt-5.5", (1_229, 12_001)),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", (1_400, 5_000)),
        ("google/gemini-3.1-pro-preview", (1_120, 2_500)),
    ],
)
def test_an_image_costs_what_the_vendor_publishes(model_id: str, expected: tuple[int, int]) -> None:
    assert image_tokens(model_id) == expected


@pytest.mark.parametrize("model_id", ["llava", "gemini-2.5-flash", "gpt-4omni", "o11", "my-deployment", "gpt-5.9"])
def test_an_image_for_an_unknown_model_is_bounded_by_the_highest_known_cost(model_id: str) -> None:
    assert image_tokens(model_id)[1] >= max(image_tokens(known)[1] for known in ("gpt-4o-mini", "gpt-6", "claude-3"))
