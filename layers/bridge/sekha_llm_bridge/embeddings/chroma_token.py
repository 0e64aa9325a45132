"""The token of a Chroma server, which is read again when the server rejects it. `chroma_auth` sends it."""

import math
from collections.abc import Callable
from threading import Lock

from pydantic import SecretStr

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.embeddings.store import StoreDown
from sekha_llm_bridge.observability import code_location, logger

_UNCHANGED_FOR_S = 60.0  # after a fetch that has brought nothing new: a wrong token must not cost every request a fetch
_RETRY_AFTER_S = 3.0  # after a fetch that has failed

FetchToken = Callable[[], SecretStr | None]
"""Reads the token of the configuration again, without caches. Blocks, and may raise anything."""


class ChromaToken:
    """The token that all connections of a process send. Thread-safe: Chroma's client runs in worker threads.

    `is_fetched`: False where the token could not be fetched yet, so that a request would be rejected.
    """

    def __init__(
        self, token: SecretStr | None, fetch: FetchToken | None, clock: Clock, *, is_fetched: bool = True
    ) -> None:
        self._token = token
        self._is_fetched = is_fetched
        self._fetch = fetch
        self._clock = clock
        self._no_fetch_until_s = -math.inf
        self._lock = Lock()

    def current(self) -> SecretStr | None:
        """Returns the token. Raises `StoreDown` while it could not be fetched: then Chroma counts as unavailable."""
        if not self._is_fetched:
            raise StoreDown("its token could not be fetched yet")
        return self._token

    def replace(self, token: SecretStr | None, *, is_fetched: bool = True) -> None:
        """Takes over a token that was read again. Without the lock, which a fetch may hold for seconds: the event loop
        calls this.
        """
        self._token, self._is_fetched = token, is_fetched

    def has_other_than(self, sent: SecretStr | None) -> bool:
        """Returns whether the token is another one than `sent`, which was rejected. Fetches it for that, unless another
        thread has done so, or a fetch within the last minute has brought nothing new.
        """
        with self._lock:
            if self._token == sent and self._fetch is not None:
                self._refresh(self._fetch)
            return self._token is not None and self._token != sent

    def _refresh(self, fetch: FetchToken) -> None:
        if self._clock.monotonic_s() < self._no_fetch_until_s:
            return
        wait_s = _UNCHANGED_FOR_S
        try:
            token = fetch()
            if token != self._token:
                self._token, wait_s = token, 0.0
        except Exception as exc:  # noqa: BLE001 — a secret store may raise anything; the server's answer is reported
            logger().warning("Chroma's token cannot be fetched again", extra={"code_location": code_location(exc)})
            wait_s = _RETRY_AFTER_S
        self._no_fetch_until_s = self._clock.monotonic_s() + wait_s
