"""Generated conversations for the translators of the inbound APIs.

Each API has a module of tests beside this one. They show, without any network: whatever is sent, the only errors are
those for the caller, and what comes of it can be sent to every kind of provider; and a request that two formats can say
is the same after its translation there and back.

`TRANSLATOR_EXAMPLES` is the number of examples for each property: few in the tests, many with `infra/local/fuzz
translators`.
"""

import copy
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import hypothesis
import orjson
from hypothesis import strategies as st

from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.errors import ProviderError
from sekha_llm_bridge.pricing import count_chat
from sekha_llm_bridge.providers import ChatCall
from sekha_llm_bridge.providers.anthropic import request as anthropic
from sekha_llm_bridge.providers.bedrock import request as bedrock
from sekha_llm_bridge.providers.ollama import request as ollama
from sekha_llm_bridge.providers.openai import request as openai
from sekha_llm_bridge.providers.openai.vendors import VENDORS

Json = dict[str, Any]
_N_VARIANTS = 10

examples = hypothesis.settings(
    max_examples=int(os.environ.get("TRANSLATOR_EXAMPLES", "50")),
    report_multiple_bugs=False,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
"""The decorator of each property."""

examples_of_variants = hypothesis.settings(examples, max_examples=max(10, examples.max_examples // _N_VARIANTS))
"""The decorator of a property of `variants`, of which each example has several."""

_NAMES = (
    "type",
    "text",
    "content",
    "role",
    "id",
    "name",
    "data",
    "url",
    "é🐋\u0000",
    "https://example.org/a",
    "x" * 99,
)
texts = st.text(max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""Any JSON."""

_NO_TOKENS = frozenset({"type", "role", "data", "url", "images", "bytes", "media_type", "model"})

_MODELS: dict[str, Callable[[ChatCall], Any]] = {
    "claude-opus-4-6": anthropic.chat_payload,
    "claude-3-haiku-20240307": anthropic.chat_payload,
    "anthropic.claude-opus-4-6-v1": bedrock.chat_body,
    "amazon.nova-pro-v1:0": bedrock.chat_body,
    "llama": lambda call: ollama.chat_payload(call, stream=False),
    "gpt": lambda call: openai.chat_payload(call, VENDORS[ProviderType.OPENAI]),
}
"""The translators of the adapters, by a model whose requests they make."""


@st.composite
def with_other_values(draw: Callable[..., Any], valid: st.SearchStrategy[Json]) -> Json:
    """Valid objects in which up to three values are replaced by any JSON, or by one that is elsewhere in the object."""
    value: Json = copy.deepcopy(draw(valid))
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(value))
        container, key = draw(st.sampled_from(places))
        elsewhere = [container[key] for container, key in places]
        container[key] = copy.deepcopy(draw(json_values | st.sampled_from(elsewhere)))
    return value


@st.composite
def variants(draw: Callable[..., Any], valid: st.SearchStrategy[Json]) -> list[Json]:
    """A valid object, and others like it, each with up to three values replaced as in `with_other_values`. They are
    made by a seed that is drawn, which takes much less time than to draw each of them.
    """
    value: Json = draw(valid)
    random = Random(draw(st.integers(0, 2**32)))  # noqa: S311 — no secret
    return [value, *(_variant(value, random) for _ in range(_N_VARIANTS - 1))]


def _variant(value: Json, random: Random) -> Json:
    changed = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        places = list(_places(changed))
        container, key = random.choice(places)
        elsewhere, other = random.choice(places)
        container[key] = copy.deepcopy(elsewhere[other]) if random.random() < 0.3 else _random_json(random)
    return changed


def _random_json(random: Random, depth: int = 0) -> Any:
    match random.randrange(9 if depth < 2 else 7):
        case 7:
            return [_random_json(random, depth + 1) for _ in range(random.randrange(3))]
        case 8:
            return {random.choice(_NAMES): _random_json(random, depth + 1) for _ in range(random.randrange(3))}
        case n:
            return (None, True, False, random.randint(-(2**40), 2**40), random.random() * 9, "", random.choice(_NAMES))[
                n
            ]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields (object or list, key or index) of every value inside."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def check_every_adapter(conversation: Conversation) -> None:
    """Checks that a conversation is counted, and that the adapter of every format makes JSON of it, or says by a
    `ProviderError` that its provider cannot take it. No JSON has more bytes of text than the bound of its tokens.
    """
    count = count_chat(conversation)
    assert 0 <= count.minimum <= count.bound
    for model, translate in _MODELS.items():
        try:
            payload = translate(ChatCall(model, conversation, None, 4096))
        except ProviderError:
            continue
        assert _text_bytes(orjson.loads(orjson.dumps(payload))) <= count.bound


def _text_bytes(value: Any, name: str = "") -> int:
    """Returns the bytes of all texts in a JSON that may be tokens of a prompt: neither media nor fixed words."""
    if isinstance(value, str):
        return 0 if name in _NO_TOKENS else len(value.encode())
    if isinstance(value, dict):
        return sum(_text_bytes(inner, key) for key, inner in value.items())
    return sum(_text_bytes(inner, name) for inner in value) if isinstance(value, list) else 0
