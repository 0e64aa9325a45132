"""Which models a provider with `models: auto` offers, for which tasks, and in which order."""

from typing import Any

import pytest

from sekha_llm_bridge.config.models import Task
from sekha_llm_bridge.errors import ModelNotFound, NoCapableModel, NoProviderAvailable
from sekha_llm_bridge.execution.plan_errors import require_candidates
from sekha_llm_bridge.found_models import FoundModel
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.routing import Catalog, RouteRequest, RoutingContext, plan
from sekha_llm_bridge.routing.found_models import why_left_out
from sekha_llm_bridge.routing.key_catalogs import restricted
from sekha_llm_bridge.routing.names import resolve_model
from tests.fakes.settings import chat_model, embedding_model, make_settings, provider

PROMPT = TokenCount(estimate=10, bound=10, minimum=10)
SMALL, LARGE, SMART = Task.CHAT_SMALL, Task.CHAT_LARGE, Task.CHAT_SMART


def chat(name: str, billions: float = 8, **fields: Any) -> FoundModel:
    return FoundModel(
        name=name,
        parameter_count=round(billions * 10**9),
        **{"context_length": 8192, "capabilities": ("completion", "tools"), **fields},
    )


def embedder(name: str = "nomic-embed-text:latest", **fields: Any) -> FoundModel:
    known = {"context_length": 2048, "num_ctx": 8192, "embedding_length": 768, "capabilities": ("embedding",)}
    return FoundModel(name=name, **{**known, **fields})


def catalog(
    *found: FoundModel, configured: list[dict[str, Any]] | None = None, others: Any = (), **sections: Any
) -> Catalog:
    """The catalog of an Ollama `home` with these models, before other providers."""
    home = provider("home", "auto", *(configured or ()), provider_type="ollama", priority=1)  # type: ignore[arg-type]  # a section or `auto`
    return Catalog.of(make_settings(home, *others, **sections), PriceBook(), {"home": found})


def cloud(*models: dict[str, Any]) -> dict[str, Any]:
    return provider("cloud", *models, base_url="http://cloud/v1", priority=2)


def tasks(made: Catalog, *, provider_id: str = "home") -> dict[str, set[Task]]:
    return {entry.model_id: set(entry.model.all_tasks) for entry in made.models if entry.provider.id == provider_id}


def planned(made: Catalog, task: Task | None = None, model: str | None = None) -> list[str]:
    """The models that are tried, in order."""
    target = resolve_model(model, made)
    request = RouteRequest(task=target.task or task, prompt=PROMPT, output_tokens=None, named=target.models)
    made_plan = plan(request, made, RoutingContext())
    require_candidates(made_plan)
    return [entry.model_id for entry in made_plan.ranked]


def test_a_single_chat_model_answers_every_chat() -> None:
    assert tasks(catalog(chat("llama3.1:8b"))) == {"llama3.1:8b": {SMALL, LARGE, SMART}}


def test_a_small_model_is_for_small_chats_and_a_large_one_for_the_others() -> None:
    made = catalog(chat("llama3.1:8b"), chat("llama3.1:70b", 70.6), chat("gpt-oss:20b", 20.9))
    assert tasks(made) == {"llama3.1:8b": {SMALL}, "llama3.1:70b": {LARGE, SMART}, "gpt-oss:20b": {LARGE, SMART}}


def test_of_several_small_models_the_largest_takes_over_what_nothing_is_for() -> None:
    made = catalog(chat("a:1b", 1), chat("b:14b", 14), chat("c:8b"))
    assert tasks(made) == {"a:1b": {SMALL}, "b:14b": {SMALL, LARGE, SMART}, "c:8b": {SMALL}}


def test_of_several_large_models_the_smallest_takes_over_the_small_chats() -> None:
    made = catalog(chat("a:70b", 70), chat("b:32b", 32))
    assert tasks(made) == {"a:70b": {LARGE, SMART}, "b:32b": {SMALL, LARGE, SMART}}


def test_a_task_that_a_configured_model_is_for_is_not_taken_over() -> None:
    smart = cloud({**chat_model("gpt"), "task": "chat_smart"}, {**chat_model("big"), "task": "chat_large"})
    assert tasks(catalog(chat("llama3.1:8b"), others=[smart])) == {"llama3.1:8b": {SMALL}}


def test_a_model_that_sees_images_is_for_vision_too() -> None:
    made = catalog(chat("gemma3:4b", capabilities=("completion", "vision")))
    assert Task.VISION in tasks(made)["gemma3:4b"]
    assert planned(made, Task.VISION) == ["gemma3:4b"]


def test_whether_it_calls_functions_is_known_where_ollama_says_it() -> None:
    old: dict[str, Any] = {"capabilities": ("completion",), "are_capabilities_reported": False}
    made = catalog(chat("with"), chat("without", capabilities=("completion",)), chat("old", **old))
    known = {entry.model_id: entry.model.supports_function_calling for entry in made.models}
    assert known == {"with": True, "without": False, "old": None}


def test_an_embedding_model_has_its_dimension_and_the_smaller_of_its_two_windows() -> None:
    [entry] = catalog(embedder()).models
    assert entry.model.all_tasks == (Task.EMBEDDING,)
    assert (entry.model_id, entry.model.dimension, entry.window) == ("nomic-embed-text", 768, 2048)
    assert entry.model.space == "nomic-embed-text"


def test_a_chat_model_has_the_window_that_its_parameters_say_else_that_of_its_training_else_4096() -> None:
    made = catalog(
        chat("a", num_ctx=2048, context_length=131_072),
        chat("b", context_length=131_072),
        chat("c", context_length=None),
    )
    assert {entry.model_id: entry.window for entry in made.models} == {"a": 2048, "b": 131_072, "c": 4096}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (chat("x:cloud", remote_host="https://ollama.com"), "another server"),
        (FoundModel("paint", capabilities=("image",)), "neither answers chats nor embeds"),
        (embedder(embedding_length=None), "length of its vectors"),
    ],
)
def test_a_model_that_cannot_be_used_is_left_out_with_a_reason(model: FoundModel, reason: str) -> None:
    assert reason in (why_left_out(model) or "")
    assert catalog(model, chat("llama3.1:8b")).model_ids() == ("llama3.1:8b",)


def test_a_model_that_runs_elsewhere_is_used_when_it_is_configured() -> None:
    remote = chat("gpt-oss:120b-cloud", 117, remote_host="https://ollama.com:443")
    made = catalog(remote, configured=[chat_model("gpt-oss:120b-cloud")])
    assert made.model_ids() == ("gpt-oss:120b-cloud",)
    assert made.models[0].found == remote


def test_a_configured_entry_takes_precedence_over_what_is_found() -> None:
    entry = chat_model("llama3.1:8b", task="chat_smart", context_window=4096)
    made = catalog(chat("llama3.1:8b"), chat("qwen3:4b", 4), configured=[entry])
    assert made.model_ids() == ("llama3.1:8b", "qwen3:4b")
    assert tasks(made)["llama3.1:8b"] == {SMART}
    assert made.models[0].window == 4096


def test_a_configured_entry_of_a_model_that_is_not_there_is_left_out_until_it_is() -> None:
    configured = [chat_model("llama3.1:8b"), embedding_model("nomic-embed-text")]
    assert catalog(chat("qwen3:4b"), configured=configured).model_ids() == ("qwen3:4b",)
    made = catalog(chat("llama3.1:8b"), embedder(), configured=configured)
    assert made.model_ids() == ("llama3.1:8b", "nomic-embed-text")
    assert made.entries("nomic-embed-text")[0].model.dimension == 8


def test_before_there_is_a_list_the_configured_entries_are_used() -> None:
    home = provider("home", "auto", chat_model("llama3.1:8b"), provider_type="ollama")  # type: ignore[arg-type]  # as above
    made = Catalog.of(make_settings(home), PriceBook())
    assert (made.model_ids(), list(made.unlisted)) == (("llama3.1:8b",), ["home"])


def test_an_entry_that_nothing_else_names_has_what_its_provider_says_of_it() -> None:
    model = chat("llama3.1:8b", family="llama", quantization="Q4_K_M", digest="46e0")
    made = catalog(model, others=[cloud(chat_model("gpt"))])
    assert [entry.found for entry in made.models] == [model, None]


def test_models_are_tried_in_an_order_that_does_not_depend_on_the_list() -> None:
    found = [chat("a:70b", 70), chat("z:8b"), chat("b:1b", 1), chat("y:8b"), embedder(), chat("c:32b", 32)]
    expected = ["y:8b", "z:8b", "b:1b", "c:32b", "a:70b"]
    assert planned(catalog(*found)) == planned(catalog(*found[::-1])) == expected


def test_the_default_model_is_tried_first_once_it_is_there() -> None:
    sections: dict[str, Any] = {"default_models": {"chat_fast": "b:1b"}}
    assert planned(catalog(chat("a:8b"), **sections)) == ["a:8b"]
    assert planned(catalog(chat("a:8b"), chat("b:1b", 1), **sections)) == ["b:1b", "a:8b"]
    assert planned(catalog(chat("a:8b"), chat("b:1b", 1), **sections), model="chat_fast") == ["b:1b", "a:8b"]


@pytest.mark.parametrize("name", ["llama3.1", "llama3.1:latest", "home/llama3.1", "home/llama3.1:latest"])
def test_a_name_with_the_default_tag_and_one_without_are_the_same(name: str) -> None:
    assert planned(catalog(chat("llama3.1:latest"), chat("other")), model=name) == ["llama3.1"]
    configured = catalog(chat("llama3.1:latest"), chat("other"), configured=[chat_model("llama3.1:latest")])
    assert planned(configured, model=name) == ["llama3.1:latest"]


@pytest.mark.parametrize("name", ["gpt-4o", "cloud/gpt-4o", "house", "chat_smart"])
def test_ollamas_name_of_any_other_model_is_the_same_without_the_tag(name: str) -> None:
    aliases = {"house": ["gpt-4o"]}
    made = catalog(chat("a"), others=[cloud(chat_model("gpt-4o", task="chat_smart"))], aliases=aliases)
    assert planned(made, model=f"{name}:latest") == planned(made, model=name)
    assert planned(made, model="auto:latest") == planned(made, model="auto")
    with pytest.raises(ModelNotFound, match="gpt-5:latest"):
        planned(made, model="gpt-5:latest")


def test_names_with_a_registry_are_found_as_they_are() -> None:
    name = "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"
    assert planned(catalog(chat(name), chat("other")), model=name) == [name]
    assert planned(catalog(chat(name), chat("other")), model=f"home/{name}") == [name]


def test_every_tag_of_one_content_can_be_named() -> None:
    made = catalog(chat("llama3.1:latest", digest="1"), chat("llama3.1:8b", digest="1"))
    assert set(made.model_ids()) == {"llama3.1", "llama3.1:8b"}


def unlisted_beside(*others: dict[str, Any]) -> Catalog:
    home = {"id": "home", "provider_type": "ollama", "models": "auto"}
    return Catalog.of(make_settings(home, *others), PriceBook())


def test_before_the_first_check_a_request_is_answered_with_what_is_missing_and_when_to_retry() -> None:
    with pytest.raises(NoProviderAvailable, match="the models of home are not known yet") as caught:
        planned(unlisted_beside())
    assert caught.value.retry_after_s == 30
    with pytest.raises(ModelNotFound, match="the models of home are not known yet"):
        planned(unlisted_beside(), model="llama3.1:8b")


def test_an_ollama_without_models_is_named_in_the_error() -> None:
    with pytest.raises(NoCapableModel, match="home has no model that can be used: pull one there"):
        planned(catalog())


def test_vectors_of_another_space_do_not_stand_in_for_a_default_model_that_is_not_there() -> None:
    others = [cloud(embedding_model("text-embedding-3-small"))]
    sections: dict[str, Any] = {"others": others, "default_models": {"embedding": "nomic-embed-text"}}
    with pytest.raises(NoCapableModel, match="of the space text-embedding-3-small, not nomic-embed-text"):
        planned(catalog(**sections), Task.EMBEDDING)
    assert planned(catalog(embedder(), **sections), Task.EMBEDDING) == ["nomic-embed-text"]
    assert planned(catalog(**sections), Task.EMBEDDING, model="text-embedding-3-small") == ["text-embedding-3-small"]


def test_another_provider_of_the_same_space_stands_in_for_it() -> None:
    same = embedding_model("nomic-ai/nomic-embed-text-v1.5", embedding_space="nomic", dimension=768)
    entry = embedding_model("nomic-embed-text", embedding_space="nomic", dimension=768)
    made = catalog(configured=[entry], others=[cloud(same)], default_models={"embedding": "nomic-embed-text"})
    assert planned(made, Task.EMBEDDING) == ["nomic-ai/nomic-embed-text-v1.5"]


def test_a_default_model_is_found_with_and_without_its_tag() -> None:
    made = catalog(embedder(), default_models={"embedding": "nomic-embed-text:latest"})
    assert made.default_for(Task.EMBEDDING) == "nomic-embed-text"


@pytest.mark.parametrize(
    ("models", "is_named"),
    [
        ((), True),
        (("home/*",), True),
        (("llama3.1:8b",), True),
        (("gpt",), False),
        (("cloud/*",), False),
        (("chat_fast", "auto"), False),
    ],
)
def test_a_key_learns_of_a_missing_list_only_if_it_may_use_a_model_of_it(
    models: tuple[str, ...], *, is_named: bool
) -> None:
    made = unlisted_beside(cloud(chat_model("gpt")))
    with pytest.raises(ModelNotFound) as caught:
        resolve_model("other", restricted(made, models=models, tasks=()))
    assert ("the models of home are not known yet" in str(caught.value)) is is_named


@pytest.mark.parametrize(
    ("models", "tasks", "used"),
    [
        ((), (Task.EMBEDDING,), None),
        (("nomic-embed-text", "text-embedding-3-small"), (), None),
        (("home/*", "text-embedding-3-small"), (), None),
        (("text-embedding-3-small",), (), "text-embedding-3-small"),
    ],
)
def test_for_a_key_that_may_use_the_default_model_no_other_space_stands_in_for_it(
    models: tuple[str, ...], tasks: tuple[Task, ...], used: str | None
) -> None:
    others = [cloud(embedding_model("text-embedding-3-small"))]
    whole = catalog(others=others, default_models={"embedding": "nomic-embed-text"})
    made = restricted(whole, models=models, tasks=tasks)
    if used is None:
        with pytest.raises(NoCapableModel, match="not nomic-embed-text"):
            planned(made, Task.EMBEDDING)
    else:
        assert planned(made, Task.EMBEDDING) == [used]


@pytest.mark.parametrize(
    ("models", "seen"),
    [
        (("home/*",), {"llama3.1:8b", "nomic-embed-text"}),
        (("nomic-embed-text:latest",), {"nomic-embed-text"}),
        (("gpt",), {"gpt"}),
        (("not-pulled",), set()),
    ],
)
def test_a_keys_policy_holds_for_found_models(models: tuple[str, ...], seen: set[str]) -> None:
    made = catalog(chat("llama3.1:8b"), embedder(), others=[cloud(chat_model("gpt"))])
    assert set(restricted(made, models=models, tasks=()).model_ids()) == seen
