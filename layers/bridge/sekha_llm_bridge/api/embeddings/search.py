"""`POST /api/v1/search`: the stored records nearest to a text, by vectors of the collection's own embedding space."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from fastapi import Request, Response

from sekha_llm_bridge.api.app import answer_response
from sekha_llm_bridge.api.embeddings.destination import database_of
from sekha_llm_bridge.api.embeddings.routing import embedding_route_request, embedding_target
from sekha_llm_bridge.api.embeddings.search_request import SearchRequest
from sekha_llm_bridge.api.parsing import json_object, validated
from sekha_llm_bridge.api.request_state import add_log_fields, bridge_of, deadline_of, inbound_of
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.embeddings import (
    CollectionMissing,
    Match,
    QuotaExceeded,
    SpaceMismatch,
    StoreDown,
    StoreRefused,
    VectorStore,
    collection_name,
)
from sekha_llm_bridge.embeddings.chroma_quotas import MAX_RESULTS
from sekha_llm_bridge.errors import (
    BridgeError,
    CollectionNotFound,
    EmbeddingSpaceMismatch,
    InvalidRequest,
    VectorStoreUnavailable,
)
from sekha_llm_bridge.execution import Deadline, ExecutionResult, Receipt
from sekha_llm_bridge.execution.attempts import after_attempts
from sekha_llm_bridge.execution.embedding_operation import EmbeddingOperation
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.providers import EmbeddingAnswer
from sekha_llm_bridge.routing import RouteRequest

T = TypeVar("T")
_RETRY_AFTER_S = 30.0
_QUERY_S = 3.0  # the part of the time that the providers must leave for Chroma


@dataclass
class _Search:
    """One search: the request, its collaborators, and the results so far."""

    request: SearchRequest
    base_name: str
    store: VectorStore
    bridge: Bridge
    deadline: Deadline
    inbound: InboundRequest
    matches: dict[str, list[Match]] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def search(request: Request) -> Response:
    """Answers with the matches, nearest first, and with the receipt of each embedding."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    wanted = validated(SearchRequest, await json_object(request))
    if wanted.all_dimensions and (wanted.model or wanted.dimensions):
        raise InvalidRequest("`all_dimensions` takes a model for each collection: leave `model` out", param="model")
    state = _Search(wanted, _base_name(wanted, bridge), _store(bridge), bridge, deadline, inbound_of(request))
    preloading = bridge.vectors().storage.preload()
    try:
        if wanted.where is not None:
            await preloading
            _check_filter(wanted.where, state.store)
        await (_search_all_dimensions(state) if wanted.all_dimensions else _search_one_dimension(state))
    finally:
        await preloading
    matches = merge_by_rank(list(state.matches.values()), limit=wanted.n_results)
    add_log_fields(request, matches=len(matches))
    details = {
        "collections": list(state.matches),
        "notes": [*state.notes, *(note for receipt in state.receipts for note in receipt.notes)],
        "embeddings": [receipt.public() for receipt in state.receipts],
    }
    return answer_response(request, {"matches": [asdict(match) for match in matches], "bridge": details})


def merge_by_rank(results: Sequence[Sequence[Match]], *, limit: int) -> list[Match]:
    """Merges the matches of several collections by their rank in their own: distances of different models cannot be
    compared. A record that is in several collections counts where it ranks best.
    """
    ranked = [(rank, place, match) for place, matches in enumerate(results) for rank, match in enumerate(matches)]
    ranked.sort(key=lambda one: one[:2])
    best: dict[str, Match] = {}
    for _, _, match in ranked:
        best.setdefault(match.id, match)
    return list(best.values())[:limit]


def _base_name(wanted: SearchRequest, bridge: Bridge) -> str:
    name = wanted.collection or bridge.settings.chroma.default_collection
    if name is None:
        raise InvalidRequest("`collection` is needed: the configuration has no default", param="collection")
    return name


def _store(bridge: Bridge) -> VectorStore:
    """Returns the store of the caller's database: no other is searched."""
    store = bridge.vectors().storage.vector_store(database_of(bridge.caller, bridge.settings.chroma))
    if store is None:
        raise VectorStoreUnavailable("no Chroma server is configured, so nothing is stored that could be searched")
    return store


def _check_filter(where: Mapping[str, Any], store: VectorStore) -> None:
    try:
        store.check_filter(where)
    except StoreRefused as exc:
        raise _invalid_filter() from exc
    except StoreDown as exc:
        raise VectorStoreUnavailable(str(exc)) from exc


def _invalid_filter() -> InvalidRequest:
    form = '{"field": "value"} or {"field": {"$gt": 1}}; several are joined as {"$and": [...]} or {"$or": [...]}'
    return InvalidRequest(f"where: not a filter that Chroma takes; it has the form {form}", param="where")


async def _search_one_dimension(state: _Search) -> None:
    """Searches the collection of the model's own dimension."""
    wanted = state.request
    route = embedding_route_request(
        [wanted.query],
        target=embedding_target(wanted.model, state.bridge),
        max_cost=wanted.max_cost,
        dimensions=wanted.dimensions,
    )
    result = await _embed_query(state, route)
    name = collection_name(state.base_name, len(result.answer.vectors[0]))
    try:
        state.matches[name] = await _nearest(state, name, result)
    except SpaceMismatch as exc:
        raise EmbeddingSpaceMismatch(str(exc), receipt=result.receipt.public(), param="collection") from exc
    except CollectionMissing:
        others = ", ".join(await _spaces(state))
        hint = f"; there is {others}: name its model, or ask for all_dimensions" if others else ""
        state.notes.append(f"nothing has been stored in {name} yet{hint}")


async def _search_all_dimensions(state: _Search) -> None:
    """Searches every collection of the base name whose space has a configured model."""
    failures: list[Exception] = []
    spaces = await _spaces(state)
    for name, space in spaces.items():
        if space is None:
            state.notes.append(f"{name} was not searched: the embedding space of its vectors is not recorded")
            continue
        try:
            await _search_space(state, name, space)
        except (BridgeError, SpaceMismatch, CollectionMissing) as exc:
            if isinstance(exc, InvalidRequest | VectorStoreUnavailable):
                raise
            failures.append(exc)
            state.notes.append(f"{name} was not searched: {exc}")
    if not spaces:
        state.notes.append(f"nothing has been stored in {state.base_name} yet")
    if failures and not state.matches and isinstance(failures[0], BridgeError):
        raise failures[0]


async def _search_space(state: _Search, name: str, space: str) -> None:
    """Searches one of several collections, within what is left of the cost limit."""
    dimension = int(name.rpartition("_")[2])
    route = embedding_route_request(
        [state.request.query], max_cost=state.request.max_cost, dimensions=dimension, space=space
    )
    result = await _embed_query(state, after_attempts(route, state.inbound.attempts.attempts))
    state.matches[name] = await _nearest(state, name, result)


async def _embed_query(state: _Search, route: RouteRequest) -> ExecutionResult[EmbeddingAnswer]:
    operation = EmbeddingOperation(route, [state.request.query], route.dimensions, None, state.bridge.clock)
    deadline = state.deadline.at_most(state.deadline.remaining_s() - _QUERY_S)
    result = await state.bridge.service.run(operation, deadline, state.inbound)
    state.receipts.append(result.receipt)
    return result


async def _nearest(state: _Search, name: str, result: ExecutionResult[EmbeddingAnswer]) -> list[Match]:
    wanted, space, vector = state.request, result.candidate.entry.model.space, result.answer.vectors[0]
    try:
        return await _in_time(
            state, lambda: state.store.query(name, space, vector, limit=wanted.n_results, where=wanted.where)
        )
    except (SpaceMismatch, CollectionMissing):
        raise
    except QuotaExceeded as exc:
        param = "n_results" if wanted.n_results > MAX_RESULTS else "where" if wanted.where else None
        raise InvalidRequest(f"{param}: {exc}" if param else str(exc), param=param) from exc
    except StoreRefused as exc:
        if wanted.where is None:
            raise VectorStoreUnavailable(str(exc)) from exc
        raise _invalid_filter() from exc


async def _spaces(state: _Search) -> Mapping[str, str | None]:
    """Returns the collections of the base name, each with its space.

    Raises `CollectionNotFound` where the request names a collection that does not exist.
    """
    spaces = await _in_time(state, lambda: state.store.spaces(state.base_name))
    if not spaces and state.request.collection is not None:
        name = state.request.collection
        raise CollectionNotFound(f"nothing has been stored in a collection {name}", param="collection")
    return spaces


async def _in_time(state: _Search, query: Callable[[], T]) -> T:
    """Runs a query of the store in a thread. Raises `VectorStoreUnavailable` where it does not answer in time."""
    try:
        async with asyncio.timeout(max(state.deadline.remaining_s(), 0.1)):
            return await asyncio.to_thread(query)
    except StoreDown as exc:
        message = f"the vectors cannot be searched now: {exc}"
        raise VectorStoreUnavailable(message, retry_after_s=_RETRY_AFTER_S) from exc
    except TimeoutError as exc:
        raise VectorStoreUnavailable("Chroma did not answer in time", retry_after_s=_RETRY_AFTER_S) from exc
