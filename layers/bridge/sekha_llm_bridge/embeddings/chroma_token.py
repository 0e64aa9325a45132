"""The token of a Chroma server: sent with each request, and read again when the server rejects it.

It is sent in both of the headers that Chroma accepts: `Authorization` is the default of a server that runs on its own,
`X-Chroma-Token` is the one of Chroma Cloud. Source: `chromadb.auth.token_authn` and `chromadb.CloudClient` 1.5.
"""

from collections.abc import Callable, Generator
from threading import Lock

import httpx
from pydantic import SecretStr

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.chroma_quirks import raise_for_unreported_status
from sekha_llm_bridge.observability import code_location, logger

_MIN_REFRESH_INTERVAL_S = 60.0
_REJECTED_STATUSES = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})

FetchToken = Callable[[], SecretStr | None]
"""Reads the token of the configuration again, without caches. Blocks, and may raise anything."""


class TokenAuth(httpx.Auth):
    """Adds the token to each request.

    After a 401 or 403, `fetch` reads the token again, at most once a minute; if it has changed, the request is sent
    once more. Then the statuses that Chroma's client does not report raise `StoreFailed`; a response hook would raise
    before this class sees the status.
    """

    def __init__(self, token: SecretStr | None, fetch: FetchToken | None, clock: Clock) -> None:
        self._token = token
        self._fetch = fetch
        self._clock = clock
        self._fetched_at_s: float | None = None
        self._refreshing = Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See `httpx.Auth`."""
        sent = self._token
        request.headers.update(_headers(sent))
        response = yield request
        if response.status_code in _REJECTED_STATUSES and self._has_other_token(sent):
            request.headers.update(_headers(self._token))
            response = yield request
        raise_for_unreported_status(response)

    def _has_other_token(self, sent: SecretStr | None) -> bool:
        """Returns whether the token is another one than `sent`: another thread may have read it again already."""
        with self._refreshing:
            if self._token == sent and self._fetch is not None:
                self._refresh(self._fetch)
            return self._token is not None and self._token != sent

    def _refresh(self, fetch: FetchToken) -> None:
        now_s = self._clock.monotonic_s()
        if self._fetched_at_s is not None and now_s - self._fetched_at_s < _MIN_REFRESH_INTERVAL_S:
            return
        self._fetched_at_s = now_s
        try:
            self._token = fetch()
        except Exception as exc:  # noqa: BLE001 — a secret store may raise anything; the server's answer is reported
            logger().warning("Chroma's token cannot be fetched again", extra={"code_location": code_location(exc)})


def _headers(token: SecretStr | None) -> dict[str, str]:
    if token is None:
        return {}
    return {"Authorization": f"Bearer {token.get_secret_value()}", "X-Chroma-Token": token.get_secret_value()}
