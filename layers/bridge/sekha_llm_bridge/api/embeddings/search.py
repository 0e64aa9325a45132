"""`POST /api/v1/search`: the stored records nearest to a text, by vectors of the space that the collection holds."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from fastapi import Request, Response

from sekha_llm_bridge.api.app import add_log_fields, bridge_of, deadline_of, json_response, log_receipt
from sekha_llm_bridge.api.embeddings.errors import mismatch, tell_bill
from sekha_llm_bridge.api.embeddings.search_request import SearchRequest
from sekha_llm_bridge.api.parsing import checked, json_object
from sekha_llm_bridge.api.vectors import embed, pinned_for_vectors
from sekha_llm_bridge.bootstrap import Bridge
from sekha_llm_bridge.embeddings import (
    CollectionMissing,
    Match,
    SpaceMismatch,
    StoreDown,
    StoreRefused,
    VectorStore,
    collection_name,
)
from sekha_llm_bridge.errors import BridgeError, CollectionNotFound, InvalidRequest, VectorStoreUnavailable
from sekha_llm_bridge.execution import Deadline, Outcome, Receipt
from sekha_llm_bridge.providers import EmbeddingAnswer

T = TypeVar("T")
_RETRY_S = 30.0
_TO_SEARCH_S = 3.0


@dataclass
class _Search:
    """One search under way: what was asked, with what it is done, and what came of it so far."""

    asked: SearchRequest
    base_name: str
    store: VectorStore
    bridge: Bridge
    deadline: Deadline
    found: dict[str, list[Match]] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    spent_usd: Decimal = Decimal(0)


async def search(request: Request) -> Response:
    """The matches, nearest first, and what it took to find them."""
    bridge, deadline = bridge_of(request), deadline_of(request)
    asked = checked(SearchRequest, await json_object(request))
    if asked.all_dimensions and (asked.model or asked.dimensions):
        raise InvalidRequest("`all_dimensions` takes a model for each collection: leave `model` out", param="model")
    searching = _Search(asked, _base_name(asked, bridge), _store(bridge), bridge, deadline)
    warming = bridge.vectors().storage.preload()
    try:
        if asked.where is not None:
            await warming
            _check_filter(asked.where, searching.store)
        await (_everywhere(searching) if asked.all_dimensions else _in_one(searching))
    except BridgeError as exc:
        if len(searching.receipts) == 1:
            tell_bill(exc, searching.receipts[0])
        raise
    finally:
        await warming
    for receipt in searching.receipts:
        log_receipt(request, receipt)
    matches = merged(list(searching.found.values()), limit=asked.n_results)
    add_log_fields(request, matches=len(matches))
    return json_response(_body(searching, matches), headers=_headers(searching.receipts))


def merged(found: Sequence[Sequence[Match]], *, limit: int) -> list[Match]:
    """Matches of several collections by their rank in their own: distances of different models cannot be compared. A
    record that is in more than one counts where it ranks best.
    """
    ranked = [(rank, place, match) for place, matches in enumerate(found) for rank, match in enumerate(matches)]
    ranked.sort(key=lambda one: one[:2])
    best: dict[str, Match] = {}
    for _, _, match in ranked:
        best.setdefault(match.id, match)
    return list(best.values())[:limit]


def _base_name(asked: SearchRequest, bridge: Bridge) -> str:
    name = asked.collection or bridge.settings.chroma.default_collection
    if name is None:
        raise InvalidRequest("`collection` is needed: the configuration has no default", param="collection")
    return name


def _store(bridge: Bridge) -> VectorStore:
    store = bridge.vectors().storage.vector_store
    if store is None:
        raise VectorStoreUnavailable("no Chroma server is configured, so nothing is stored that could be searched")
    return store


def _check_filter(where: Mapping[str, Any], store: VectorStore) -> None:
    try:
        store.check_filter(where)
    except StoreRefused as exc:
        raise _bad_filter() from exc
    except StoreDown as exc:
        raise VectorStoreUnavailable(str(exc)) from exc


def _bad_filter() -> InvalidRequest:
    form = '{"field": "value"} or {"field": {"$gt": 1}}; several are joined as {"$and": [...]} or {"$or": [...]}'
    return InvalidRequest(f"where: not a filter that Chroma takes; it has the form {form}", param="where")


async def _in_one(searching: _Search) -> None:
    """Searches the collection of the model's own dimension."""
    asked = searching.asked
    outcome = await embed(
        [asked.query],
        searching.bridge,
        _sooner(searching.deadline),
        pinned=pinned_for_vectors(asked.model, searching.bridge),
        max_cost=asked.max_cost,
        dimensions=asked.dimensions,
    )
    searching.receipts.append(outcome.receipt)
    name = collection_name(searching.base_name, len(outcome.answer.vectors[0]))
    try:
        searching.found[name] = await _nearest(searching, name, outcome)
    except SpaceMismatch as exc:
        raise mismatch(exc, outcome.receipt) from exc
    except CollectionMissing:
        others = await _spaces(searching)
        searching.notes.append(_missing(name, others))


async def _everywhere(searching: _Search) -> None:
    """Searches every collection of the base name whose space has a configured model."""
    failures: list[Exception] = []
    spaces = await _spaces(searching)
    for name, space in spaces.items():
        try:
            await _one_of_many(searching, name, space)
        except (BridgeError, SpaceMismatch, CollectionMissing) as exc:
            if isinstance(exc, InvalidRequest | VectorStoreUnavailable):
                raise
            if isinstance(exc, BridgeError):
                searching.spent_usd += exc.cost_bound_usd or Decimal(0)
            failures.append(exc)
            searching.notes.append(f"{name} was not searched: {exc}")
    if not spaces:
        searching.notes.append(f"nothing has been stored in {searching.base_name} yet")
    if failures and not searching.found and isinstance(failures[0], BridgeError):
        raise failures[0]


async def _one_of_many(searching: _Search, name: str, space: str | None) -> None:
    """Searches one collection, with what is left of the limit."""
    if space is None:
        searching.notes.append(f"{name} was not searched: nobody recorded of which space its vectors are")
        return
    bridge, asked = searching.bridge, searching.asked
    limits = [usd for usd in (asked.max_cost, bridge.settings.routing.max_cost_per_request) if usd is not None]
    outcome = await embed(
        [asked.query],
        bridge,
        _sooner(searching.deadline),
        pinned=None,
        max_cost=max(min(limits) - searching.spent_usd, Decimal(0)) if limits else None,
        dimensions=int(name.rpartition("_")[2]),
        space=space,
    )
    searching.receipts.append(outcome.receipt)
    searching.spent_usd += sum(
        (attempt.cost_bound_usd or Decimal(0) for attempt in outcome.receipt.attempts), Decimal(0)
    )
    searching.found[name] = await _nearest(searching, name, outcome)


async def _nearest(searching: _Search, name: str, outcome: Outcome[EmbeddingAnswer]) -> list[Match]:
    asked = searching.asked

    def query() -> list[Match]:
        space = outcome.candidate.entry.model.space
        vector = outcome.answer.vectors[0]
        return searching.store.query(name, space, vector, limit=asked.n_results, where=asked.where)

    try:
        return await _asked(searching, query)
    except (SpaceMismatch, CollectionMissing):
        raise
    except StoreRefused as exc:
        if asked.where is None:
            raise VectorStoreUnavailable(str(exc)) from exc
        raise _bad_filter() from exc


async def _spaces(searching: _Search) -> Mapping[str, str | None]:
    """The collections of the base name. Raises `CollectionNotFound` where the request names one that there is not."""
    spaces = await _asked(searching, lambda: searching.store.spaces(searching.base_name))
    if not spaces and searching.asked.collection is not None:
        name = searching.asked.collection
        raise CollectionNotFound(f"nothing has been stored in a collection {name}", param="collection")
    return spaces


async def _asked(searching: _Search, question: Callable[[], T]) -> T:
    """What the store answers in time. Raises `VectorStoreUnavailable`."""
    try:
        async with asyncio.timeout(max(searching.deadline.remaining_s(), 0.1)):
            return await asyncio.to_thread(question)
    except StoreDown as exc:
        raise VectorStoreUnavailable(f"the vectors cannot be searched now: {exc}", retry_after_s=_RETRY_S) from exc
    except TimeoutError as exc:
        raise VectorStoreUnavailable("Chroma did not answer in time", retry_after_s=_RETRY_S) from exc


def _sooner(deadline: Deadline) -> Deadline:
    return deadline.at_most(deadline.remaining_s() - _TO_SEARCH_S)


def _missing(name: str, others: Mapping[str, object]) -> str:
    hint = f"; there is {', '.join(others)}: name its model, or ask for all_dimensions" if others else ""
    return f"nothing has been stored in {name} yet{hint}"


def _body(searching: _Search, matches: Sequence[Match]) -> dict[str, Any]:
    notes = [*searching.notes, *_told(searching.receipts)]
    embeddings = [receipt.public() for receipt in searching.receipts]
    bridge = {"collections": list(searching.found), "notes": notes, "embeddings": embeddings}
    return {"matches": [asdict(match) for match in matches], "bridge": bridge}


def _told(receipts: Sequence[Receipt]) -> Iterator[str]:
    for receipt in receipts:
        yield from receipt.notes


def _headers(receipts: Sequence[Receipt]) -> dict[str, str]:
    return receipts[0].headers() if len(receipts) == 1 else {}
