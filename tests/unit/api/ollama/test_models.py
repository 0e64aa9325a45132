"""`/api/tags`, `/api/show`, `/api/ps` and `/api/version`, as Ollama's clients read them."""

import re
from dataclasses import replace
from typing import Any

import pytest
from ollama import ListResponse, ProcessResponse, ShowResponse

from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.routing import Catalog
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider
from tests.unit.api.ollama.function import error, function, post


def listed(api: Function) -> dict[str, dict[str, Any]]:
    """The rows by their names."""
    answer = api("GET", "/api/tags")
    assert answer.status == 200
    ListResponse.model_validate_json(answer.text)
    rows = answer.json()["models"]
    assert all(row["name"] == row["model"] for row in rows)
    return {row["name"]: row for row in rows}


def shown(api: Function, name: str) -> dict[str, Any]:
    answer = post(api, "/api/show", model=name)
    assert answer.status == 200, answer.text
    ShowResponse.model_validate_json(answer.text)
    body: dict[str, Any] = answer.json()
    return body


def test_the_list_has_every_name_that_a_model_may_have_each_with_a_tag(ollama: Function) -> None:
    rows = listed(ollama)
    assert next(iter(rows)) == "auto:latest"
    assert rows.keys() == {
        *("auto:latest", "chat_fast:latest", "embedding:latest", "chat_vision:latest", "house:latest"),
        *("gpt:latest", "mini:latest", "claude-opus-4-6:latest", "llama3.1:8b", "nomic:latest"),
    }
    for name in rows:
        if rows[name]["capabilities"] != ["embedding"]:
            assert post(ollama, model=name, stream=False).status == 200, name
        assert shown(ollama, name)["capabilities"] == rows[name]["capabilities"]
        assert shown(ollama, name.removesuffix(":latest"))["details"] == rows[name]["details"]


def test_every_row_has_what_clients_read(ollama: Function) -> None:
    for row in listed(ollama).values():
        assert re.fullmatch(r"[0-9a-f]{64}", row["digest"])
        assert row["details"].keys() >= {"family", "families", "format", "parameter_size", "quantization_level"}
        assert (row["size"], row["modified_at"]) == (0, "1970-01-01T00:00:00.000000Z")
    assert len({row["digest"] for row in listed(ollama).values()}) == len(listed(ollama))


def test_capabilities_are_those_of_the_configuration() -> None:
    api = function(
        provider(
            "p",
            chat_model("plain", supports_function_calling=False),
            chat_model("all", supports_vision=True, supports_audio=True, supports_function_calling=True),
            embedding_model("vectors"),
        )
    )
    found = {name: row["capabilities"] for name, row in listed(api).items()}
    assert found["plain:latest"] == ["completion"]
    assert found["all:latest"] == ["completion", "tools", "vision", "audio"]
    assert found["vectors:latest"] == ["embedding"]
    assert found["auto:latest"] == found["all:latest"]


def test_a_description_has_the_context_length_below_the_architecture() -> None:
    models = (chat_model("a", context_window=1000), embedding_model("e", context_window=512, dimension=8))
    api = function(
        provider("p", *models),
        provider("q", chat_model("b", context_window=9000), provider_type="ollama"),
        aliases={"both": ["a", "b"]},
    )
    assert shown(api, "a")["model_info"] == {
        "general.architecture": "openai",
        "general.basename": "a",
        "openai.context_length": 1000,
    }
    assert shown(api, "e")["model_info"]["openai.embedding_length"] == 8
    assert shown(api, "q/b")["model_info"]["ollama.context_length"] == 9000
    for name in ("both", "auto"):
        info = shown(api, name)["model_info"]
        assert info[f"{info['general.architecture']}.context_length"] == 9000


@pytest.mark.parametrize(
    ("name", "size", "quantization"),
    [
        ("llama3.1:8b-instruct-q4_K_M", "8B", "Q4_K_M"),
        ("qwen2.5:0.5b", "0.5B", ""),
        ("nomic-embed-text:137m-v1.5-fp16", "137M", "FP16"),
        ("gpt-4o", "", ""),
        ("bob:latest", "", ""),
    ],
)
def test_size_and_quantization_are_those_in_the_name(name: str, size: str, quantization: str) -> None:
    details = shown(function(provider("p", chat_model(name), provider_type="ollama")), name)["details"]
    assert (details["parameter_size"], details["quantization_level"]) == (size, quantization)


def test_what_an_ollama_says_of_a_model_that_was_found_there_is_shown() -> None:
    settings = make_settings(
        provider("home", provider_type="ollama", base_url="http://home:11434") | {"models": "auto"}
    )
    found = FoundModel(
        name="qwen3:8b",
        digest="d" * 64,
        size_bytes=5_000_000_000,
        modified_at="2026-05-04T14:56:49.277302595-07:00",
        family="qwen3",
        parameter_size="8.2B",
        parameter_count=8_200_000_000,
        quantization="Q4_K_M",
        context_length=40_960,
        capabilities=("completion", "tools", "thinking"),
    )
    bridge = make_bridge(settings)
    catalog = Catalog.of(settings, bridge.prices, {"home": (found,)})
    api = Function("ollama", replace(bridge, catalog=catalog))
    row = listed(api)["qwen3:8b"]
    assert (row["size"], row["digest"], row["modified_at"]) == (found.size_bytes, found.digest, found.modified_at)
    assert row["capabilities"] == ["completion", "tools", "thinking"]
    description = shown(api, "qwen3:8b")
    assert description["details"].items() >= {
        "family": "qwen3", "parameter_size": "8.2B", "quantization_level": "Q4_K_M", "context_length": 40_960,
    }.items()  # fmt: skip
    assert description["model_info"]["qwen3.context_length"] == 40_960


def test_a_description_of_an_unknown_model_is_a_404_and_of_none_a_400(ollama: Function) -> None:
    answer = post(ollama, "/api/show", name="llama9")
    assert answer.status == 404
    assert error(answer)[0].startswith("model 'llama9' not found")
    assert post(ollama, "/api/show").status == 400


def test_no_model_is_running(ollama: Function) -> None:
    answer = ollama("GET", "/api/ps")
    ProcessResponse.model_validate_json(answer.text)
    assert answer.json() == {"models": []}


def test_the_version_has_three_numbers_that_clients_compare(ollama: Function) -> None:
    answer = ollama("GET", "/api/version").json()
    assert answer.keys() == {"version"}
    assert tuple(map(int, answer["version"].split("."))) > (0, 12, 11)


@pytest.mark.parametrize("path", ["/api/tags", "/api/ps", "/api/version"])
def test_a_caller_without_a_key_gets_a_401(ollama: Function, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    answer = ollama("GET", path)
    assert (answer.status, error(answer)[1]["code"]) == (401, "invalid_api_key")


def test_a_wrong_method_is_a_405_in_ollamas_envelope(ollama: Function, fake: FakeProvider) -> None:
    answer = ollama("DELETE", "/api/tags")
    assert (answer.status, error(answer)[1]["code"]) == (405, "method_not_allowed")
