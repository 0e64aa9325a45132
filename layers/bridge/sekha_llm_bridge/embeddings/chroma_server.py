"""A Chroma server, through Chroma's own client, with time limits, retries and errors of its own.

The client is imported at first use: that takes about a second, and only the functions that store vectors have it. The
bridge uses the class below `HttpClient`, because `HttpClient` sends three requests before the first real one and has no
timeout (infra/decisions/0004).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx

from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_collection import ServerCollection
from sekha_llm_bridge.embeddings.chroma_quirks import Metadata, translate_errors
from sekha_llm_bridge.embeddings.chroma_token import FetchToken, TokenAuth
from sekha_llm_bridge.embeddings.store import CollectionMissing, StoreDown, StoreFailed

_CONNECT_TIMEOUT_S = 2.0
_REQUEST_TIMEOUT_S = 10.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_COLLECTIONS_PER_PAGE = 1_000
_BACKOFF_S = 0.3  # times the number of the attempt
_MAX_IDLE = timedelta(seconds=30)


class ChromaServer:
    """One database of the server at `config.url`.

    `timeout_s` limits each request. Every request is idempotent, so it is sent up to `max_attempts` times while the
    server answers with a 5xx status, with a short sleep in between. `fetch_token` reads a rotated token again.
    """

    def __init__(
        self,
        config: ChromaConfig,
        *,
        timeout_s: float = _REQUEST_TIMEOUT_S,
        max_attempts: int = 1,
        fetch_token: FetchToken | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config = config
        self._max_attempts = max_attempts
        self._sleep = sleep
        self._timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
        self._clock = clock or SystemClock()
        self._auth = TokenAuth(config.auth_token, fetch_token, self._clock)
        self._used_at: datetime | None = None
        self._connecting = Lock()

    @property
    def url(self) -> str:
        """The address of the server, which has no secret in it."""
        return self._config.url

    def prepare(self) -> None:
        """Imports the client. Replaces connections that were idle for 30 s: a NAT gateway may have dropped them.

        Raises `StoreDown` if the client cannot be used.
        """
        now = self._clock.now()
        try:
            with self._connecting:
                if self._used_at is not None and now - self._used_at > _MAX_IDLE:
                    self._api._session = self._session(self._api._session.headers)  # noqa: SLF001 — as below
                _ = self._api
                self._used_at = now
        except Exception as exc:  # usually ImportError: the function lacks the layer
            raise StoreDown(f"Chroma's client cannot be used here ({type(exc).__name__})") from exc

    def is_up(self) -> bool:
        """Returns whether the server answers a request that needs the token, if it requires one."""
        self.prepare()
        try:
            with translate_errors("answer"):
                self._api.list_collections(limit=1, **self._database)
        except StoreFailed:
            return False
        return True

    def collections(self) -> Iterator[ServerCollection]:
        """Returns every collection of the database. Raises `StoreFailed`."""
        self.prepare()
        offset = 0
        while True:
            with translate_errors("list collections"):
                models = self._api.list_collections(limit=_COLLECTIONS_PER_PAGE, offset=offset, **self._database)
            yield from map(self._wrap, models)
            if len(models) < _COLLECTIONS_PER_PAGE:
                return
            offset += len(models)

    def find(self, name: str) -> ServerCollection | None:
        """Returns the collection of that name, or None. Raises `StoreFailed`."""
        self.prepare()
        try:
            with translate_errors("look up a collection"):
                return self._wrap(self._api.get_collection(name, **self._database))
        except CollectionMissing:
            return None

    def find_or_create(
        self, name: str, *, metadata: Metadata | None, configuration: Mapping[str, Any]
    ) -> ServerCollection:
        """Returns the collection of that name. Creates it if there is none. Raises `StoreFailed`."""
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
        """Deletes the collection of that name with its records. Raises `CollectionMissing` if there is none."""
        self.prepare()
        with translate_errors("delete a collection"):
            self._api.delete_collection(name, **self._database)

    def check_filter(self, where: Metadata) -> None:
        """Raises `StoreRefused` if the filter is malformed. Sends no request."""
        self.prepare()
        from chromadb.api.types import validate_where

        with translate_errors("take the filter"):
            validate_where(dict(where))

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
        system = System(
            Settings(
                chroma_api_impl="chromadb.api.fastapi.FastAPI",
                chroma_server_host=url.hostname,
                chroma_server_http_port=url.port or _DEFAULT_PORTS[url.scheme],
                chroma_server_ssl_enabled=url.scheme == "https",
                anonymized_telemetry=False,
            )
        )
        api = system.instance(ServerAPI)
        api._session = self._session(api._session.headers)  # noqa: SLF001 — the client has no setting for timeouts, and has none
        return api

    def _session(self, headers: httpx.Headers) -> httpx.Client:
        return httpx.Client(
            timeout=self._timeout,
            headers=headers,
            auth=self._auth,
            transport=_RetryOnServerError(httpx.HTTPTransport(), self._max_attempts, self._sleep)
            if self._max_attempts > 1
            else None,
        )


class _RetryOnServerError(httpx.BaseTransport):
    """Sends a request again after a 5xx status. Chroma may answer so for a moment after another client disconnected."""

    def __init__(self, inner: httpx.BaseTransport, max_attempts: int, sleep: Callable[[float], None]) -> None:
        self._inner = inner
        self._max_attempts = max_attempts
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport`."""
        for attempt in range(1, self._max_attempts):
            response = self._inner.handle_request(request)
            if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return response
            response.close()
            self._sleep(attempt * _BACKOFF_S)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """See `httpx.BaseTransport`."""
        self._inner.close()
