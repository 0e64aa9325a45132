"""What is read of the models that real versions of Ollama list and describe."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.providers.ollama.found import read_list, with_description
from tests.fakes.ollama_server import recorded

HF = "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"
CHAT, TOOLS, VISION, EMBEDDING = "completion", "tools", "vision", "embedding"


def found(version: str) -> dict[str, FoundModel]:
    """The described models of a recorded version, by name."""
    file = recorded(version)
    return {one.name: with_description(one, file["show"][one.name]) for one in read_list(file["tags"])}


@pytest.mark.parametrize(
    ("version", "name", "capabilities", "window", "num_ctx", "dimension"),
    [
        ("current", "llama3.1:8b", (CHAT, TOOLS), 131_072, None, 4096),
        ("current", "nomic-embed-text:latest", (EMBEDDING,), 2048, 8192, 768),
        ("current", "mxbai-embed-large:latest", (EMBEDDING,), 512, 512, 1024),
        ("of_2025", "gemma3:4b", (CHAT, VISION), 131_072, 2048, 2560),
        ("of_2025", "embeddinggemma:latest", (EMBEDDING,), 2048, 2048, 768),
        ("of_2025", HF, (CHAT, TOOLS), 131_072, None, 3072),
        ("of_2024", "llama3:latest", (CHAT,), None, None, None),
        ("of_2024", "llama2:13b", (CHAT,), None, None, None),
        ("of_2024", "llava:latest", (CHAT, VISION), None, 4096, None),
        ("of_2024", "nomic-embed-text:latest", (EMBEDDING,), None, 8192, None),
        ("of_2024_with_lengths", "llava:latest", (CHAT, VISION), 32_768, None, 4096),
        ("of_2024_with_lengths", "nomic-embed-text:latest", (EMBEDDING,), 2048, 8192, 768),
    ],
)
def test_capabilities_and_lengths_are_read_of_every_version(
    version: str,
    name: str,
    capabilities: tuple[str, ...],
    window: int | None,
    num_ctx: int | None,
    dimension: int | None,
) -> None:
    model = found(version)[name]
    assert model.capabilities == capabilities
    assert (model.context_length, model.num_ctx, model.embedding_length) == (window, num_ctx, dimension)
    assert model.are_capabilities_reported == (not version.startswith("of_2024"))


def test_everything_else_is_read_too() -> None:
    assert found("of_2025")["llama3.1:8b"] == FoundModel(
        name="llama3.1:8b",
        digest="46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e",
        size_bytes=4_920_753_328,
        modified_at="2025-08-14T15:49:43.634137516-07:00",
        family="llama",
        parameter_size="8.0B",
        parameter_count=8_030_261_248,
        quantization="Q4_K_M",
        context_length=131_072,
        embedding_length=4096,
        capabilities=(CHAT, TOOLS),
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("llama3:latest", 8 * 10**9),
        ("mixtral:8x7b", 56 * 10**9),
        ("nomic-embed-text:latest", 137 * 10**6),
        ("llama2:13b", 13 * 10**9),
    ],
)
def test_without_an_exact_number_the_size_tells_how_many_parameters_there_are(name: str, count: int) -> None:
    assert found("of_2024")[name].parameter_count == count


def test_a_model_that_runs_elsewhere_is_recognised_in_the_list() -> None:
    [cloud] = [one for one in read_list(recorded("of_2025")["tags"]) if one.remote_host]
    assert (cloud.name, cloud.remote_host) == ("deepseek-v3.1:671b-cloud", "https://ollama.com:443")


def test_a_cloud_tag_says_it_where_the_list_does_not() -> None:
    names = ["cloud", "cloud:8b", "glm:cloud", "gpt-oss:120b-cloud", "raincloud:latest"]
    remote = [one.name for one in read_list({"models": [{"name": name} for name in names]}) if one.remote_host]
    assert remote == ["glm:cloud", "gpt-oss:120b-cloud"]


def test_an_alias_of_a_cloud_model_is_recognised_by_its_description() -> None:
    [listed] = read_list({"models": [{"name": "mine:latest"}]})
    assert with_description(listed, recorded("of_2025")["show"]["deepseek-v3.1:671b-cloud"]).remote_host


@pytest.mark.parametrize("models", [None, []])
def test_an_ollama_without_models_has_an_empty_list(models: object) -> None:
    assert read_list({"models": models}) == ()


def test_the_list_is_sorted_by_name_and_has_each_once() -> None:
    rows = [
        {"name": "b"},
        {"name": "a", "digest": "1"},
        {"model": "a", "digest": "2"},
        {"digest": "3"},
        "text",
        {"name": ""},
    ]
    assert [(one.name, one.digest) for one in read_list({"models": rows})] == [("a", "2"), ("b", "")]


@pytest.mark.parametrize("name", ["a\x07b", "a\nb", "a\ud800", "x" * 301, 3, None])
def test_a_name_that_cannot_be_stored_or_shown_is_left_out(name: object) -> None:
    assert read_list({"models": [{"name": name}]}) == ()


@pytest.mark.parametrize("body", [{"models": "none"}, {"models": {"a": 1}}])
def test_something_else_than_a_list_is_a_malformed_answer(body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        read_list(body)
    assert caught.value.kind is FailureKind.MALFORMED_ANSWER


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = ("name", "model", "digest", "size", "details", "capabilities", "modified_at", "remote_host", "model_info")
SHAPES = st.dictionaries(st.sampled_from((*NAMES, "parameters", "projector_info", "families", "parameter_size")), JSON)


@given(SHAPES, SHAPES, SHAPES)
def test_no_answer_of_whatever_shape_breaks_the_reader(row: Any, details: Any, shown: Any) -> None:
    for listed in read_list({"models": [{**row, "name": "m", "details": details}]}):
        described = with_description(listed, {**shown, "details": details})
        assert described.name
        assert all(number is None or number > 0 for number in (described.context_length, described.num_ctx))
