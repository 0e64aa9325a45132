"""`sekha-bridge migrate-env`: the bridge accepts the YAML for any file that it accepts, and no variable is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.cli.migrate_env import known_variables as known
from sekha_llm_bridge.cli.migrate_env.env_file import parse_env
from sekha_llm_bridge.cli.migrate_env.migration import Migration, migrate_source
from sekha_llm_bridge.cli.migrate_env.source import UnusableFile
from sekha_llm_bridge.config import load_settings

NAMES = (
    *known.OLLAMA_URLS,
    *known.EMBEDDING_MODELS,
    *known.CHAT_MODELS,
    *known.OTHER_CHAT_MODELS,
    *known.VISION_MODELS,
    *known.OLLAMA_TIMEOUTS,
    *known.EMBEDDING_DIMENSIONS,
    *known.CHROMA_URLS,
    *known.CHROMA_TOKENS,
    *known.CHROMA_KEYS,
    *known.SETTING_OF,
    "SEKHA__ROUTING__COST_AWARE",
    "SEKHA__ROUTING__CIRCUIT_BREAKER__SUCCESS_THRESHOLD",
    "SEKHA__LLM_PROVIDERS__0__BASE_URL",
    "SEKHA__DEFAULT_MODELS__CHAT_FAST",
    "OPENAI_API_KEY",
    "PORT",
    "OTHER",
)
SECRET = "hunter2-hunter2"

texts = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "http://h:1",
        "https://u:p@h",
        "${CHAT_MODEL}",
        "$OTHER",
        "${X:-y}",
        "${",
        "null",
        "true",
        "0",
        "5",
        "-1",
        "1e9",
        "a:b",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-5, 200) | st.floats(allow_nan=False) | texts
models = st.fixed_dictionaries(
    {"model_id": st.sampled_from(["a", "b", "c"]) | texts},
    optional={
        "task": st.sampled_from(["embedding", "chat_small", "vision", "other"]),
        "context_window": scalars,
        "dimension": scalars,
        "supports_vision": scalars,
        "cost_per_1k_input": scalars,
        "cost_per_1k_output": scalars,
        "max_image_size": scalars,
        "vision_capabilities": scalars | st.dictionaries(st.sampled_from(["max_images", "supported_formats"]), scalars),
    },
)
providers = st.fixed_dictionaries(
    {"id": st.sampled_from(["p", "q", "P!"]) | texts, "type": st.sampled_from(["ollama", "openai", "litellm", "x"])},
    optional={
        "base_url": scalars,
        "api_key": st.just(SECRET) | st.just("${OPENAI_API_KEY}"),
        "priority": scalars,
        "timeout": scalars,
        "models": st.lists(models | scalars, max_size=3) | scalars,
        "more": scalars,
    },
)
default_models = st.dictionaries(st.sampled_from(["embedding", "chat_fast", "chat_vision", "chat_large"]), scalars)
files = st.fixed_dictionaries(
    {},
    optional={
        "SEKHA__LLM_PROVIDERS": st.lists(providers | scalars, max_size=3) | scalars,
        "SEKHA__DEFAULT_MODELS": default_models | scalars,
        "SEKHA__ROUTING": st.dictionaries(st.sampled_from(["max_cost_per_request", "circuit_breaker", "x"]), scalars),
    },
)


def lines(variables: dict[str, str], objects: dict[str, Any]) -> str:
    parts = [f"{name}={json.dumps(value)}" for name, value in variables.items()]
    return "\n".join([*parts, *(f"{name}='{quoted(json.dumps(value))}'" for name, value in objects.items())])


def quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def migrated(text: str) -> Migration | None:
    try:
        return migrate_source(parse_env(Path(".env"), text))
    except UnusableFile:
        return None


@given(variables=st.dictionaries(st.sampled_from(NAMES), texts, max_size=8), objects=files)
def test_the_yaml_of_any_file_is_accepted_and_has_no_secret(
    variables: dict[str, str], objects: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = migrated(lines(variables, objects))
    if done is None:
        return
    file = tmp_path_factory.mktemp("yaml") / "llm_providers.yaml"
    file.write_text(done.yaml, encoding="utf-8")
    load_settings(file, environ={})
    assert SECRET not in done.yaml


@given(text=st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    migrated(f"CHAT_MODEL=a\n{text}")
