"""The connections to a Chroma server, through Chroma's own client, with time limits and retries of its own.

The client is imported at first use: that takes about a second, and only the functions that store vectors have it. The
bridge uses the class below `HttpClient`, because `HttpClient` sends three requests before the first real one and has no
timeout (infra/decisions/0004).
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx

from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config.models import ChromaConfig
from sekha_llm_bridge.embeddings.chroma_auth import TokenAuth
from sekha_llm_bridge.embeddings.chroma_token import ChromaToken
from sekha_llm_bridge.embeddings.store import StoreDown

REQUEST_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 2.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_BACKOFF_S = 0.3  # times the number of the attempt
_MAX_IDLE = timedelta(seconds=30)


class ChromaConnection:
    """Chroma's client of the server at `config.url`. One object serves all databases of the server.

    `timeout_s`, `max_attempts`, `token` and `sleep` are those of `ChromaServer`.
    """

    def __init__(
        self,
        config: ChromaConfig,
        *,
        timeout_s: float,
        max_attempts: int,
        token: ChromaToken | None,
        clock: Clock | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = config.url
        self._max_attempts = max_attempts
        self._sleep = sleep
        self._timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
        self._clock = clock or SystemClock()
        self._auth = TokenAuth(token or ChromaToken(config.auth_token, None, self._clock))
        self._used_at: datetime | None = None
        self._connecting = Lock()

    def prepare(self) -> None:
        """Imports the client. Replaces connections that were idle for 30 s: a NAT gateway may have dropped them.

        Raises `StoreDown` if the client cannot be used.
        """
        now = self._clock.now()
        try:
            with self._connecting:
                if self._used_at is not None and now - self._used_at > _MAX_IDLE:
                    self.api._session = self._session(self.api._session.headers)  # noqa: SLF001 — as below
                _ = self.api
                self._used_at = now
        except Exception as exc:  # usually ImportError: the function lacks the layer
            raise StoreDown(f"Chroma's client cannot be used here ({type(exc).__name__})") from exc

    @cached_property
    def api(self) -> Any:
        """Chroma's client. Call `prepare` first."""
        from chromadb.api import ServerAPI
        from chromadb.config import Settings, System

        url = urlsplit(self.url)
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
