"""Embeddings, and the search in those that are stored: the calls of `embed` and `search`, and their replies."""

import base64
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sekha_llm_bridge.client.call import Call, Usd, post, sent_usd, usd_of
from sekha_llm_bridge.client.chat import TokenUsage, usage_of

Metadata = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class EmbeddingReply:
    """The vectors of some texts, in their order, and where they are stored.

    `collection` is the collection with its dimension, None where nothing was to be stored. `stored` is the number of
    records that are stored, `pending` of those that wait for the Chroma server. `cost` is in USD, None where it is not
    known.
    """

    vectors: tuple[Sequence[float], ...]
    model: str
    provider_id: str | None
    usage: TokenUsage
    cost: Decimal | None
    dimension: int
    collection: str | None
    stored: int
    pending: int
    ids: tuple[str, ...]
    request_id: str | None
    bridge: Mapping[str, Any]
    raw: Mapping[str, Any]

    @property
    def vector(self) -> Sequence[float]:
        """The vector of the first text."""
        return self.vectors[0]


@dataclass(frozen=True, slots=True)
class Match:
    """A stored record. `distance` is that of its collection; a higher `score` is a better match."""

    id: str
    document: str | None
    metadata: Mapping[str, Any]
    distance: float
    score: float
    collection: str


@dataclass(frozen=True, slots=True)
class SearchReply:
    """The matches, best first; iterating yields them. `bridge` has the searched collections, notes and receipts."""

    matches: tuple[Match, ...]
    request_id: str | None
    bridge: Mapping[str, Any]
    raw: Mapping[str, Any]

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)


def embed(
    texts: str | Sequence[str],
    *,
    model: str | None = None,
    preferred_model: str | None = None,
    collection: str | None = None,
    store: bool | None = None,
    ids: Sequence[str] | None = None,
    metadatas: Sequence[Metadata | None] | None = None,
    dimensions: int | None = None,
    max_cost: Usd | None = None,
    **openai_fields: Any,
) -> Call[EmbeddingReply]:
    """Embeds one text or several, and stores them in `collection` (default: the configured one) unless `store=False`.

    `ids` and `metadatas` have one entry for each text; without ids, a text has that of its content. `max_cost` is a
    limit in USD. Other fields of OpenAI's embeddings are sent as they are.
    """
    fields = {
        "input": texts if isinstance(texts, str) else list(texts),
        "model": model,
        "preferred_model": preferred_model,
        "collection": collection,
        "store": store,
        "ids": None if ids is None else list(ids),
        "metadatas": None if metadatas is None else list(metadatas),
        "dimensions": dimensions,
        "max_cost": sent_usd(max_cost),
    }
    return post("/v1/embeddings", {**openai_fields, **fields}, _embedding_reply)


def search(
    query: str,
    *,
    collection: str | None = None,
    model: str | None = None,
    n_results: int = 10,
    where: Mapping[str, Any] | None = None,
    dimensions: int | None = None,
    all_dimensions: bool = False,
    max_cost: Usd | None = None,
) -> Call[SearchReply]:
    """Finds the stored records that are nearest to a text, in `collection` (default: the configured one).

    `where` is Chroma's filter of metadata. `all_dimensions` searches the collections of every embedding model, and
    merges their matches by rank.
    """
    fields = {
        "query": query,
        "collection": collection,
        "model": model,
        "n_results": n_results,
        "where": where,
        "dimensions": dimensions,
        "all_dimensions": all_dimensions or None,
        "max_cost": sent_usd(max_cost),
    }
    return post("/api/v1/search", fields, _search_reply)


def _embedding_reply(document: Any, request_id: str | None) -> EmbeddingReply:
    rows = sorted(document["data"], key=lambda row: row["index"])
    vectors = tuple(_floats(row["embedding"]) for row in rows)
    bridge = document.get("bridge") or {}
    return EmbeddingReply(
        vectors=vectors,
        model=document["model"],
        provider_id=bridge.get("provider_id"),
        usage=usage_of(document.get("usage")),
        cost=usd_of(bridge.get("cost")),
        dimension=len(vectors[0]),
        collection=bridge.get("collection"),
        stored=bridge.get("stored", 0),
        pending=bridge.get("pending", 0),
        ids=tuple(bridge.get("ids") or ()),
        request_id=request_id,
        bridge=bridge,
        raw=document,
    )


def _floats(vector: Any) -> Sequence[float]:
    """Returns a vector; OpenAI's `encoding_format: base64` is little-endian float32."""
    if not isinstance(vector, str):
        return tuple(vector)
    floats = array("f", base64.b64decode(vector))
    if sys.byteorder == "big":
        floats.byteswap()
    return tuple(floats)


def _search_reply(document: Any, request_id: str | None) -> SearchReply:
    matches = tuple(
        Match(
            id=row["id"],
            document=row["document"],
            metadata=row.get("metadata") or {},
            distance=row["distance"],
            score=row["score"],
            collection=row["collection"],
        )
        for row in document["matches"]
    )
    return SearchReply(matches, request_id, document.get("bridge") or {}, document)
