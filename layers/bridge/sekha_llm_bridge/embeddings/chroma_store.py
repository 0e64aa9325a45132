"""Vectors on a remote Chroma server, through Chroma's own client.

The client is imported at first use: it takes about a second, and only the functions that store carry it. It is used
one level below `HttpClient`, which asks the server three questions before the first real one and waits for ever.
"""

from collections.abc import Mapping
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx

from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.records import Batch
from sekha_llm_bridge.embeddings.store import SpaceMismatch, StoreFailed

_TIMEOUT = httpx.Timeout(10, connect=2)
_PORTS = {"http": 80, "https": 443}
_SPACE_KEY = "embedding_space"
_DIMENSION_KEY = "dimension"
_LARGEST_WRITE = 1_000  # records in one request; Chroma's own limit is 5461


class ChromaStore:
    """A `VectorStore` on the server that `config.url` names.

    `default_space` and `default_dimension` are those of the default embedding model: a collection from before spaces
    were recorded is taken to hold its vectors, where the dimension fits.
    """

    def __init__(self, config: ChromaConfig, *, default_space: str | None, default_dimension: int | None) -> None:
        self._config = config
        self._default = (default_space, default_dimension)
        self._collections: dict[str, Any] = {}
        self._connecting = Lock()

    def prepare(self) -> None:
        """See `VectorStore.prepare`."""
        try:
            with self._connecting:
                _ = self._server
        except Exception as exc:  # most of all ImportError, where the layer is missing
            raise StoreFailed(f"Chroma's client cannot be used here ({type(exc).__name__})") from exc

    def upsert(self, batch: Batch) -> int:
        """See `VectorStore.upsert`."""
        self.prepare()
        from chromadb.errors import NotFoundError

        try:
            try:
                return self._write(batch)
            except NotFoundError:  # deleted or renamed since it was looked up
                self._collections.pop(batch.collection, None)
                return self._write(batch)
        except StoreFailed:
            raise
        except Exception as exc:  # the client raises bare exceptions, quoting the server, for what it does not know
            raise StoreFailed(f"Chroma did not take the vectors ({type(exc).__name__})") from exc

    def _write(self, batch: Batch) -> int:
        collection = self._collection(batch)
        records = batch.once_each()
        for start in range(0, len(records), _LARGEST_WRITE):
            part = records[start : start + _LARGEST_WRITE]
            collection.upsert(
                ids=[record.id for record in part],
                embeddings=[list(record.vector) for record in part],
                documents=[record.document for record in part],
                metadatas=[dict(record.metadata) if record.metadata else None for record in part],
            )
        return len(records)

    def _collection(self, batch: Batch) -> Any:
        """The batch's collection, made at first use. Raises `SpaceMismatch`."""
        name = batch.collection
        if name not in self._collections:
            found = self._find(name) or self._create(batch)
            self._collections[name] = self._marked(found, batch)
        holds = self._space_of(self._collections[name].metadata, batch.dimension)
        if holds != batch.space:
            raise SpaceMismatch(
                f"the collection {name} holds vectors of the space {holds or 'that nobody recorded'}, "
                f"not {batch.space}; name another collection, or a model of that space"
            )
        return self._collections[name]

    def _find(self, name: str) -> Any | None:
        from chromadb.errors import NotFoundError

        try:
            return self._wrap(self._server.get_collection(name, **self._where))
        except NotFoundError:
            return None

    def _create(self, batch: Batch) -> Any:
        model = self._server.create_collection(
            batch.collection,
            configuration={"hnsw": {"space": "cosine"}},
            metadata={_SPACE_KEY: batch.space, _DIMENSION_KEY: batch.dimension},
            get_or_create=True,
            **self._where,
        )
        return self._wrap(model)

    def _marked(self, collection: Any, batch: Batch) -> Any:
        """Records the space of a collection that has no mark yet, where it is known."""
        metadata = dict(collection.metadata or {})
        space = self._space_of(metadata, batch.dimension)
        if _SPACE_KEY not in metadata and space is not None:
            collection.modify(metadata={**_modifiable(metadata), _SPACE_KEY: space, _DIMENSION_KEY: batch.dimension})
        return collection

    def _space_of(self, metadata: Mapping[str, Any] | None, dimension: int) -> str | None:
        space, default_dimension = self._default
        recorded = (metadata or {}).get(_SPACE_KEY)
        return recorded or (space if default_dimension == dimension else None)

    def _wrap(self, model: Any) -> Any:
        from chromadb.api.models.Collection import Collection

        return Collection(client=self._server, model=model, embedding_function=None)

    @property
    def _where(self) -> dict[str, str]:
        return {"tenant": self._config.tenant, "database": self._config.database}

    @cached_property
    def _server(self) -> Any:
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
        server = system.instance(ServerAPI)
        server._session.timeout = _TIMEOUT  # noqa: SLF001 — the client has no setting for it, and its default is to wait for ever
        return server


def _modifiable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Chroma refuses to be told the distance function again."""
    return {key: value for key, value in metadata.items() if not key.startswith("hnsw:")}
