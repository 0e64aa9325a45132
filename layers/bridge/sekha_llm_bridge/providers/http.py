"""One HTTP connection pool for every adapter: JSON in, JSON out, failures translated.

httpx's rules that matter here: a client belongs to one event loop, so a Lambda's loop is kept between invocations; a
client that
slept longer than a NAT's memory may hold dead connections, so an old one is replaced; making a TLS context costs
tens of milliseconds, so it is made once, and only when a provider is reached by https.
"""

import ssl
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.errors import ConnectFailed, MalformedAnswer, ProviderServerError, ProviderTimeout
from sekha_llm_bridge.providers import failures

_CONNECT_S = 3.0
_WRITE_S = 10.0
_POOL_S = 2.0
_STALE_AFTER_S = 30.0
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=_STALE_AFTER_S)


class JsonHttp:
    """Sends JSON and reads JSON. Never follows a redirect: a key must not travel to another host."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._used_at: dict[str, float] = {}

    async def post(
        self, url: str, *, payload: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float
    ) -> dict[str, Any]:
        """The JSON object that `url` answers. Raises a `ProviderError` for everything else."""
        content = orjson.dumps(payload)
        response = await self._send(
            "POST", url, content=content, headers={**headers, "content-type": "application/json"}, timeout_s=timeout_s
        )
        return _read(response, payload)

    async def get(self, url: str, *, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """See `post`."""
        return _read(await self._send("GET", url, content=None, headers=headers, timeout_s=timeout_s), {})

    async def aclose(self) -> None:
        """Closes every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    async def _send(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> httpx.Response:
        client = await self._client(url)
        timeout = httpx.Timeout(
            timeout_s, connect=min(_CONNECT_S, timeout_s), write=min(_WRITE_S, timeout_s), pool=_POOL_S
        )
        try:
            return await client.request(method, url, content=content, headers=dict(headers), timeout=timeout)
        except httpx.HTTPError as exc:
            raise translate(exc) from exc

    async def _client(self, url: str) -> httpx.AsyncClient:
        scheme = url.partition(":")[0]
        now = self._clock.now().timestamp()  # a frozen environment's monotonic clock may stand still
        client = self._clients.get(scheme)
        if client is not None and now - self._used_at[scheme] > _STALE_AFTER_S:
            await client.aclose()
            client = None
        if client is None:
            client = self._clients[scheme] = httpx.AsyncClient(
                verify=_tls_context(scheme), limits=_LIMITS, trust_env=scheme == "https"
            )
        self._used_at[scheme] = now
        return client


def _tls_context(scheme: str) -> ssl.SSLContext:
    """The machine's trust for https; for plain http an empty context, which trusts nobody and costs nothing."""
    return ssl.create_default_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def translate(exc: httpx.HTTPError) -> ProviderServerError | ProviderTimeout | ConnectFailed | MalformedAnswer:
    """The failure that an httpx error means. Its own words are left out: they may hold a URL with a key."""
    name = type(exc).__name__
    match exc:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
            return ConnectFailed(f"no connection to the provider ({name})")
        case httpx.TimeoutException():
            return ProviderTimeout(f"the provider did not answer in time ({name})")
        case httpx.DecodingError() | httpx.TooManyRedirects():
            return MalformedAnswer(f"the provider's answer cannot be read ({name})")
        case _:
            return ProviderServerError(f"the connection to the provider broke ({name})")


def _read(response: httpx.Response, payload: Mapping[str, Any]) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    status = response.status_code
    if status >= 400:
        raise failures.from_answer(status, body, retry_after=response.headers.get("retry-after"), request=payload)
    if status >= 300:
        raise MalformedAnswer(
            f"the provider answered with a redirect ({status}); give its final base_url", provider_status=status
        )
    if not isinstance(body, dict):
        raise MalformedAnswer("the provider's answer is not a JSON object", provider_status=status)
    if body.get("error"):
        raise failures.from_answer(_status_within(body["error"]), body, request=payload)
    return body


def _status_within(error: object) -> int:
    """The status that an error inside a 200 answer speaks of (OpenRouter puts it into `code`)."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502
