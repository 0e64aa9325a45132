"""In which database a caller's vectors are, and whether they are stored."""

from typing import Any

import pytest

from sekha_llm_bridge.access.caller import ANYONE, Caller, KeyPolicy
from sekha_llm_bridge.api.embeddings.destination import Destination, database_of, destination
from sekha_llm_bridge.api.embeddings.request import EmbeddingRequest
from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings import Database
from sekha_llm_bridge.errors import InvalidRequest, NotAllowed
from tests.fakes.settings import embedding_model, make_settings, provider

CONFIGURED = {"url": "http://chroma:8000", "tenant": "team", "database": "shared"}


def caller(**policy: Any) -> Caller:
    return Caller("key_Abc123456789", {}, KeyPolicy(**policy))


@pytest.mark.parametrize(
    ("policy", "shared", "separate"),
    [
        ({}, None, ("team", "key_Abc123456789")),
        ({"chroma_database": "mine"}, ("team", "mine"), ("team", "mine")),
        ({"chroma_tenant": "own"}, ("own", "shared"), ("own", "key_Abc123456789")),
        ({"chroma_tenant": "own", "chroma_database": "mine"}, ("own", "mine"), ("own", "mine")),
        ({"chroma_database": "shared"}, None, None),
        ({"chroma_tenant": "team", "chroma_database": "shared"}, None, None),
    ],
)
def test_the_keys_policy_names_the_database_else_the_configuration(
    policy: dict[str, str], shared: tuple[str, str] | None, separate: tuple[str, str] | None
) -> None:
    assert database_of(caller(**policy), ChromaConfig.model_validate(CONFIGURED)) == shared
    config = ChromaConfig.model_validate({**CONFIGURED, "separate_by_key": True})
    assert database_of(caller(**policy), config) == separate


def test_a_caller_without_a_key_has_the_configured_database() -> None:
    assert database_of(ANYONE, ChromaConfig.model_validate({**CONFIGURED, "separate_by_key": True})) is None


@pytest.mark.parametrize("name", ["a/../b", "..", ".", "ab", "-ab", "ab-", "a b", "a%2fb", "abc\n", "é" * 4])
def test_a_name_that_chroma_does_not_take_is_not_allowed(name: str) -> None:
    with pytest.raises(NotAllowed):
        database_of(caller(chroma_database=name), ChromaConfig())


def target(who: Caller, *, default_name: str | None = "notes", **fields: Any) -> Destination:
    bridge = make_bridge(make_settings(provider("p", embedding_model()), chroma=CONFIGURED)).for_caller(who)
    return destination(EmbeddingRequest.model_validate({"input": "x", **fields}), bridge, default_name=default_name)


def test_what_is_stored_is_stored_in_the_keys_database() -> None:
    mine = Database("team", "mine")
    assert target(caller(chroma_database="mine")) == Destination("notes", mine)
    assert target(caller(chroma_database="mine"), collection="poems") == Destination("poems", mine)
    assert target(ANYONE) == Destination("notes")


def test_nothing_is_stored_where_nobody_asks_for_it() -> None:
    for who in (ANYONE, caller(), caller(may_store=False)):
        assert target(who, default_name=None) == Destination(None)
        assert target(who, store=False, collection="poems") == Destination(None)


def test_a_key_that_may_not_store_is_told_that_the_default_collection_is_left_out() -> None:
    assert target(caller(may_store=False)) == Destination(None, note="not stored: this API key may not store vectors")


def test_store_without_any_collection_is_invalid() -> None:
    with pytest.raises(InvalidRequest, match="`store` needs a `collection`"):
        target(ANYONE, default_name=None, store=True)
