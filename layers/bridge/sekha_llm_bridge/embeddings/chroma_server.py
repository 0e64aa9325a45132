"""A Chroma server, through Chroma's own client, with what that leaves open: time limits, errors told apart by what to
do about them, and vectors as float32.

The client is imported at first use: it takes about a second, and only the functions that store carry it. It is used
one level below `HttpClient`, which asks the server three questions before the first real one and waits for ever
(infra/decisions/0004).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx

from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.store import CollectionMissing, NameTaken, StoreDown, StoreFailed, StoreRefused

Metadata = Mapping[str, Any]

_CONNECT_S = 2.0
_REQUEST_S = 10.0
DISTANCE_KEY = "measured_by"
"""Where the metadata of a collection say how it measures, if its configuration does not."""

_MEASURE_IN_METADATA = "hnsw:space"
_MEASURES = frozenset({"cosine", "l2", "ip"})
_PORTS = {"http": 80, "https": 443}
_LISTED_AT_ONCE = 1_000
_DATABASES_UNIQUE = "UNIQUE constraint failed"
# Statuses that may be others tomorrow, as those from 500 on: its operator mends them, not the caller.
_PASSING = frozenset({401, 403, 408, 429})
_BACKOFF_S = 0.3
_STALE_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Records:
    """Some records of a collection, column by column, in the collection's own order.

    `vectors` is a NumPy array of float32 of the shape (n_records, dimension). `uris` is None where no record has one.
    """

    ids: list[str]
    vectors: Any
    documents: list[str | None]
    metadatas: list[Metadata | None]
    uris: list[str | None] | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ids)

    def select(self, wanted: Sequence[int]) -> "Records":
        """Those at the positions `wanted`."""
        return Records(
            [self.ids[i] for i in wanted],
            self.vectors[list(wanted)],
            [self.documents[i] for i in wanted],
            [self.metadatas[i] for i in wanted],
            [self.uris[i] for i in wanted] if self.uris else None,
        )


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One record near a vector, and how far it is by the collection's own measure."""

    id: str
    document: str | None
    metadata: Metadata | None
    distance: float


class ServerCollection:
    """One collection of a server: known by its id, so it stays the same one when it is renamed.

    Every method raises `StoreDown` or `StoreRefused`; `CollectionMissing` when it has been deleted.
    """

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    @property
    def id(self) -> str:
        """The server's id of it."""
        return str(self._collection.id)

    @property
    def name(self) -> str:
        """Its name when it was last looked up or changed from here."""
        return str(self._collection.name)

    @property
    def metadata(self) -> dict[str, Any]:
        """Its metadata when it was last looked up or changed from here."""
        return dict(self._collection.metadata or {})

    @property
    def configuration(self) -> dict[str, Any]:
        """Chroma's configuration of its index, as JSON."""
        return dict(self._collection.configuration_json)

    @property
    def distance(self) -> str:
        """The measure of its index: `cosine`, `l2` (squared) or `ip`. Of collections that Chroma 0.5 or older has made
        the metadata say it, and the configuration says `l2` whatever it is.
        """
        said = self.metadata.get(_MEASURE_IN_METADATA) or self.metadata.get(DISTANCE_KEY)
        if said in _MEASURES:
            return str(said)
        index = self.configuration.get("hnsw") or self.configuration.get("spann") or {}
        return str(index.get("space", "l2"))

    @property
    def declared_dimension(self) -> int | None:
        """The length of its vectors as the server had it when it was last looked up; None while it held none."""
        declared = getattr(self._collection, "_model", None)
        return getattr(declared, "dimension", None)

    @cached_property
    def dimension(self) -> int | None:
        """The length of its first vector; None while it holds none."""
        first = self.page(offset=0, limit=1)
        return first.vectors.shape[1] if len(first) else None

    def count(self) -> int:
        """How many records it holds."""
        with translate_errors("count"):
            return int(self._collection.count())

    def ids(self, *, offset: int, limit: int) -> list[str]:
        """Ids in the collection's order, which is that of their first writing."""
        with translate_errors("list ids"):
            return list(self._collection.get(offset=offset, limit=limit, include=[])["ids"])

    def page(self, *, offset: int, limit: int) -> Records:
        """Whole records in the same order."""
        with translate_errors("read"):
            return _records(self._collection.get(offset=offset, limit=limit, include=_EVERYTHING))

    def get(self, ids: Sequence[str]) -> Records:
        """Those of the records `ids` that exist, in the collection's own order."""
        with translate_errors("read"):
            return _records(self._collection.get(ids=list(ids), include=_EVERYTHING))

    def metadata_of(self, ids: Sequence[str]) -> dict[str, Metadata]:
        """The metadata of those of the records `ids` that have any."""
        with translate_errors("read"):
            found = self._collection.get(ids=list(ids), include=["metadatas"])
        return {one: metadata for one, metadata in zip(found["ids"], found["metadatas"], strict=True) if metadata}

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids it holds."""
        with translate_errors("look up ids"):
            return set(self._collection.get(ids=list(ids), include=[])["ids"])

    def add(self, records: Records) -> None:
        """Writes records whose ids it does not hold; the others stay as they are."""
        self._write(self._collection.add, records)

    def upsert(self, records: Records) -> None:
        """Writes records, in place of those with the same ids."""
        self._write(self._collection.upsert, records)

    def rename(self, name: str, *, metadata: Metadata | None = None) -> None:
        """Gives it another name, and other metadata where they are given, in one call. Raises `NameTaken`."""
        changed = modifiable_metadata(metadata or {})
        with translate_errors("rename"):
            self._collection.modify(name=name, **({"metadata": changed} if changed else {}))

    def replace_metadata(self, metadata: Metadata) -> None:
        """Replaces its metadata; none at all cannot be had."""
        if changed := modifiable_metadata(metadata):
            with translate_errors("describe"):
                self._collection.modify(metadata=changed)

    def delete(self, ids: Sequence[str]) -> None:
        """Deletes these records."""
        with translate_errors("delete records"):
            self._collection.delete(ids=list(ids))

    def nearest(self, vector: Sequence[float], *, limit: int, where: Metadata | None) -> list[Neighbour]:
        """Records by their distance from `vector`, the nearest first."""
        with translate_errors("search"):
            found = self._collection.query(query_embeddings=[vector], n_results=limit, where=where)
        columns = (found[name][0] for name in ("ids", "documents", "metadatas", "distances"))
        return [Neighbour(*row) for row in zip(*columns, strict=True)]

    def _write(self, write: Any, records: Records) -> None:
        with translate_errors("write"):
            write(
                ids=records.ids,
                embeddings=records.vectors,
                documents=records.documents if any(text is not None for text in records.documents) else None,
                metadatas=[dict(one) if one else None for one in records.metadatas],
                uris=records.uris,
            )


_EVERYTHING = ["embeddings", "documents", "metadatas", "uris"]


class ChromaServer:
    """The server that `config.url` names, and of it one database. `timeout_s` holds for each request, of which all can
    be sent again; so often a request is sent while the server answers that it is in trouble, after a rest each time.
    """

    def __init__(
        self,
        config: ChromaConfig,
        *,
        timeout_s: float = _REQUEST_S,
        max_attempts: int = 1,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config = config
        self._max_attempts = max_attempts
        self._sleep = sleep
        self._timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
        self._clock = clock or SystemClock()
        self._used_at: datetime | None = None
        self._connecting = Lock()

    def prepare(self) -> None:
        """Imports the client, or replaces connections that have slept: a NAT may have dropped them, and nobody would
        say so. Raises `StoreDown` where it cannot be used.
        """
        now = self._clock.now()
        try:
            with self._connecting:
                if self._used_at is not None and now - self._used_at > _STALE_AFTER:
                    self._api._session = self._session(self._api._session.headers)  # noqa: SLF001 — as below
                _ = self._api
                self._used_at = now
        except Exception as exc:  # most of all ImportError, where the layer is missing
            raise StoreDown(f"Chroma's client cannot be used here ({type(exc).__name__})") from exc

    def is_up(self) -> bool:
        """Whether it answers a question for which it wants the token, if it wants any."""
        self.prepare()
        try:
            with translate_errors("answer"):
                self._api.list_collections(limit=1, **self._database)
        except StoreFailed:
            return False
        return True

    def collections(self) -> Iterator[ServerCollection]:
        """Every collection there is. Raises `StoreFailed`."""
        self.prepare()
        offset = 0
        while True:
            with translate_errors("list collections"):
                models = self._api.list_collections(limit=_LISTED_AT_ONCE, offset=offset, **self._database)
            yield from map(self._wrap, models)
            if len(models) < _LISTED_AT_ONCE:
                return
            offset += len(models)

    def find(self, name: str) -> ServerCollection | None:
        """The collection of that name, if there is one. Raises `StoreFailed`."""
        self.prepare()
        try:
            with translate_errors("look up a collection"):
                return self._wrap(self._api.get_collection(name, **self._database))
        except CollectionMissing:
            return None

    def find_or_create(
        self, name: str, *, metadata: Metadata | None, configuration: Mapping[str, Any]
    ) -> ServerCollection:
        """The collection of that name, made with these settings where there is none. Raises `StoreFailed`."""
        self.prepare()
        with translate_errors("make a collection"):
            model = self._api.create_collection(
                name,
                configuration=dict(configuration),
                metadata=dict(metadata) if metadata else None,
                get_or_create=True,
                **self._database,
            )
        return self._wrap(model)

    def delete(self, name: str) -> None:
        """Deletes the collection of that name with all it holds. Raises `CollectionMissing` where there is none."""
        self.prepare()
        with translate_errors("delete a collection"):
            self._api.delete_collection(name, **self._database)

    def check_filter(self, where: Metadata) -> None:
        """Raises `StoreRefused` for a filter of the wrong form. Nothing is asked of the server."""
        self.prepare()
        from chromadb.api.types import validate_database

        with translate_errors("take the filter"):
            validate_database(dict(where))

    def _wrap(self, model: Any) -> ServerCollection:
        from chromadb.api.models.Collection import Collection

        return ServerCollection(Collection(client=self._api, model=model, embedding_function=None))

    @property
    def _database(self) -> dict[str, str]:
        return {"tenant": self._config.tenant, "database": self._config.database}

    @cached_property
    def _api(self) -> Any:
        from chromadb.api import ServerAPI
        from chromadb.config import Settings, System

        url = urlsplit(self._config.url)
        token = self._config.auth_token.get_secret_value() if self._config.auth_token else ""
        system = System(
            Settings(
                chroma_api_impl="chromadb.api.fastapi.FastAPI",
                chroma_server_host=url.hostname,
                chroma_server_http_port=url.port or _PORTS[url.scheme],
                chroma_server_ssl_enabled=url.scheme == "https",
                chroma_server_headers={"Authorization": f"Bearer {token}"} if token else {},
                anonymized_telemetry=False,
            )
        )
        api = system.instance(ServerAPI)
        api._session = self._session(api._session.headers)  # noqa: SLF001 — the client has no setting for time limits, and waits for ever
        return api

    def _session(self, headers: httpx.Headers) -> httpx.Client:
        return httpx.Client(
            timeout=self._timeout,
            headers=headers,
            transport=_RetryOnServerError(httpx.HTTPTransport(), self._max_attempts, self._sleep)
            if self._max_attempts > 1
            else None,
            event_hooks={"response": [_require_sense]},
        )


class _RetryOnServerError(httpx.BaseTransport):
    """Sends a request again while the server answers with a status of its own trouble: for a moment after somebody has
    broken off, Chroma may answer so.
    """

    def __init__(self, inner: httpx.BaseTransport, max_attempts: int, sleep: Callable[[float], None]) -> None:
        self._inner = inner
        self._max_attempts = max_attempts
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport`."""
        for trial in range(1, self._max_attempts):
            response = self._inner.handle_request(request)
            if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return response
            response.close()
            self._sleep(trial * _BACKOFF_S)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """See `httpx.BaseTransport`."""
        self._inner.close()


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Chroma's errors as `StoreFailed`. Their own words are left out: they may quote what was sent."""
    from chromadb.errors import ChromaError, NotFoundError

    said = f"Chroma did not {doing}"
    try:
        yield
    except StoreFailed as exc:
        raise type(exc)(f"{said} ({exc})") from exc
    except NotFoundError as exc:
        raise CollectionMissing("there is no such collection") from exc
    except ChromaError as exc:  # a status that is the request's own fault
        raise StoreRefused(f"{said} ({type(exc).__name__})") from exc
    except ValueError as exc:  # the client itself found a mistake; those of reading an answer have names of their own
        is_final = type(exc) is ValueError
        raise (StoreRefused if is_final else StoreDown)(f"{said} ({type(exc).__name__})") from exc
    except Exception as exc:  # the client raises bare exceptions, quoting the server, for what it does not know
        raise StoreDown(f"{said} ({type(exc).__name__})") from exc


def _require_sense(response: httpx.Response) -> None:
    """Raises `StoreDown` by the status, which Chroma's client forgets: its name for most errors is the same."""
    status = response.status_code
    if status < httpx.codes.INTERNAL_SERVER_ERROR and status not in _PASSING and status != httpx.codes.CONFLICT:
        return
    if status == httpx.codes.CONFLICT or _DATABASES_UNIQUE in response.read().decode(errors="replace"):
        raise NameTaken("a collection of that name exists already")
    raise StoreDown(f"status {status}")


def vector_bytes(dimension: int) -> int:
    """What a vector takes in a request: float32 in base64."""
    return 6 * dimension


def modifiable_metadata(metadata: Metadata) -> dict[str, Any]:
    """The metadata as Chroma lets them be changed: it refuses to be told the distance function again, so that is kept
    under a key of the bridge's own.
    """
    measure = metadata.get(_MEASURE_IN_METADATA)
    kept = {DISTANCE_KEY: measure} if measure in _MEASURES else {}
    return {**{key: value for key, value in metadata.items() if not key.startswith("hnsw:")}, **kept}


def _records(found: Mapping[str, Any]) -> Records:
    import numpy

    ids = list(found["ids"])
    uris = found.get("uris")
    vectors = numpy.asarray(found["embeddings"] if ids else [[]], dtype=numpy.float32)
    return Records(
        ids,
        vectors.reshape(len(ids), -1) if ids else vectors[:0],
        list(found["documents"]),
        list(found["metadatas"]),
        list(uris) if uris and any(uris) else None,
    )
