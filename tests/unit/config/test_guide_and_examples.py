"""Loads every YAML example of the migration guide and every file that the repository ships."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from sekha_llm_bridge.config import ProviderType, Task, bundled_path, load_settings
from sekha_llm_bridge.config.references import AwsReference
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.routing.configuration_warnings import configuration_warnings
from tests.unit.config.conftest import Load
from tests.unit.config.memory_secrets import MemorySecrets

DATA = Path(__file__).parent / "data"
BUNDLED = bundled_path() or Path()
EXAMPLES = sorted((BUNDLED.parent / "examples").glob("*.yaml"))


def test_the_guides_first_example_loads_unchanged() -> None:
    settings = load_settings(DATA / "guide_v2.yaml", environ={})
    (ollama,) = settings.providers
    assert (ollama.id, ollama.provider_type, ollama.base_url) == (
        "ollama_local",
        ProviderType.OLLAMA,
        "http://localhost:11434",
    )
    assert [model.configured_tasks for model in ollama.models] == [
        (Task.EMBEDDING,),
        (Task.CHAT_SMALL,),
        (Task.CHAT_SMART,),
    ]
    assert settings.routing.max_cost_per_request == Decimal("0.10")
    assert settings.routing.circuit_breaker.failure_threshold == 5
    assert settings.default_models.chat_fast == "llama3.1:8b"
    assert settings.warnings == ()


def test_the_guides_second_example_loads_with_its_key() -> None:
    settings = load_settings(DATA / "guide_fallback.yaml", environ={"OPENAI_API_KEY": "sk-x"})
    assert [provider.id for provider in settings.providers] == ["ollama_local", "openai_cloud"]
    assert settings.providers[1].base_url == "https://api.openai.com/v1"
    assert all(model.has_vision for model in settings.providers[1].models)


def test_the_guides_second_example_without_its_key_enables_only_ollama() -> None:
    settings = load_settings(DATA / "guide_fallback.yaml", environ={})
    assert [provider.id for provider in settings.providers] == ["ollama_local"]
    assert [provider.config.id for provider in settings.disabled] == ["openai_cloud"]


def test_the_guides_third_example_loads_below_a_providers_section(load: Load) -> None:
    providers = (DATA / "guide_fallback.yaml").read_text()
    fragment = (DATA / "guide_circuit_breaker.yaml").read_text()
    breaker = load(f"{providers}\n{fragment}").routing.circuit_breaker
    assert (breaker.failure_threshold, breaker.timeout_secs, breaker.success_threshold) == (5, 60, 2)


def test_the_guides_third_example_alone_loads_and_warns_that_every_request_fails() -> None:
    settings = load_settings(DATA / "guide_circuit_breaker.yaml", environ={})
    assert settings.routing.circuit_breaker.failure_threshold == 5
    assert settings.providers == ()
    (warning,) = settings.warnings
    assert "every request will fail" in warning


def test_a_file_without_chroma_uses_the_server_in_the_environment() -> None:
    environ = {"CHROMA_URL": "http://chroma:8000", "CHROMA_TOKEN": "t"}
    chroma = load_settings(DATA / "guide_v2.yaml", environ=environ).chroma
    assert (chroma.url, chroma.default_collection) == ("http://chroma:8000", "conversations")
    assert chroma.auth_token is not None


def test_an_invalid_chroma_url_in_the_environment_is_an_error() -> None:
    with pytest.raises(ConfigError, match="CHROMA_URL in the environment must be"):
        load_settings(DATA / "guide_v2.yaml", environ={"CHROMA_URL": "chroma:8000"})


def test_the_chroma_url_in_the_file_takes_precedence_over_the_environment(load: Load) -> None:
    own = 'chroma: {url: "http://own:1"}'
    text = f"{(DATA / 'guide_v2.yaml').read_text()}\n{own}"
    chroma = load(text, {"CHROMA_URL": "http://chroma:8000", "CHROMA_TOKEN": "t"}).chroma
    assert (chroma.url, chroma.auth_token) == ("http://own:1", None)


def test_the_bundled_file_loads_without_any_variable() -> None:
    settings = load_settings(BUNDLED, environ={})
    assert [provider.id for provider in settings.providers] == ["ollama_local"]
    assert [provider.config.id for provider in settings.disabled] == ["openai_cloud"]
    assert settings.chroma.url == ""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_with_and_without_its_variables(path: Path) -> None:
    without_values = load_settings(path, environ={}, secrets=MemorySecrets())
    with_values = load_settings(path, environ=_AllVariables(), secrets=_AllSecrets())
    assert len(with_values.providers) == len(without_values.providers) + len(without_values.disabled)
    assert with_values.warnings == ()
    assert list(configuration_warnings(with_values)) == []


def test_the_embedded_example_has_two_local_servers() -> None:
    path = next(path for path in EXAMPLES if path.stem == "embedded")
    environ = {"LOCAL_CHAT_URL": "http://127.0.0.1:5001", "LOCAL_EMBEDDINGS_URL": "http://127.0.0.1:5002/v1"}
    chat, embeddings = load_settings(path, environ=environ).providers
    assert (chat.base_url, embeddings.base_url) == ("http://127.0.0.1:5001/v1", "http://127.0.0.1:5002/v1")
    assert chat.models[0].configured_tasks == (Task.CHAT_SMALL, Task.CHAT_SMART)
    assert embeddings.models[0].dimension == 384


class _AllVariables(dict[str, str]):
    """An environment in which every variable has a valid value."""

    def get(self, name: str, default: object = None) -> str:
        if name in {"OLLAMA_BASE_URL", "EMBEDDING_MODEL", "CHAT_MODEL"}:
            return ""
        return "http://localhost:1" if name.endswith("_URL") else "1"


class _AllSecrets(MemorySecrets):
    def fetch(self, references: Collection[AwsReference], *, fresh: bool = False) -> Mapping[AwsReference, str]:
        return {one: '{"api_key": "key"}' if one.name == "sekha/azure" else "key" for one in references}
