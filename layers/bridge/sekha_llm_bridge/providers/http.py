"""One HTTP connection pool for every adapter: JSON in, JSON out, failures translated.

What httpx asks for: a client belongs to one event loop, so a Lambda's loop is kept between invocations. A client that
slept longer than a NAT's memory may hold dead connections, so it is replaced. A TLS context costs tens of
milliseconds, so it is made once, and only when a provider is reached by https.
"""

import ssl
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.errors import (
    CallerFault,
    ConnectFailed,
    ConnectionLost,
    MalformedAnswer,
    ProviderError,
    ProviderTimeout,
)
from sekha_llm_bridge.providers import failures
from sekha_llm_bridge.providers.openai_answer import read_usage

_CONNECT_S = 3.0
_WRITE_S = 10.0
_POOL_S = 2.0
_STALE_AFTER_S = 30.0
# A function serves one request at a time, so only the health check has many connections, and it wants all at once.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=_STALE_AFTER_S)
_BOM = b"\xef\xbb\xbf"


def headers_of(
    config: ProviderConfig, *, auth_header: str = "authorization", prefix: str = "Bearer "
) -> dict[str, str]:
    """The headers of every request to a provider: the configured ones, and its key unless they already say who asks."""
    headers = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    if config.api_key is not None:
        headers.setdefault(auth_header, prefix + config.api_key.get_secret_value())
    return headers


class JsonHttp:
    """Sends JSON and reads JSON. Never follows a redirect: a key must not travel to another host."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._used_at: dict[str, float] = {}

    async def post(
        self, url: str, *, payload: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float
    ) -> dict[str, Any]:
        """The JSON object that `url` answers. Raises a `ProviderError` for everything else."""
        try:
            content = orjson.dumps(payload)
        except TypeError as exc:
            raise CallerFault("the request cannot be written as JSON: it is nested too deeply") from exc
        sent = {**headers, "content-type": "application/json"}
        return _read(await self._send("POST", url, content=content, headers=sent, timeout_s=timeout_s), payload)

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
        connect_s, write_s = min(_CONNECT_S, timeout_s), min(_WRITE_S, timeout_s)
        timeout = httpx.Timeout(timeout_s, connect=connect_s, write=write_s, pool=_POOL_S)
        try:
            return await client.request(method, url, content=content, headers=dict(headers), timeout=timeout)
        except httpx.HTTPError as exc:
            raise translate(exc) from exc
        except (httpx.InvalidURL, ValueError) as exc:  # a host or header that cannot be sent at all
            raise ConnectFailed(f"the provider's base_url or headers cannot be sent ({type(exc).__name__})") from exc

    async def _client(self, url: str) -> httpx.AsyncClient:
        scheme = url.partition(":")[0]
        now = self._clock.now().timestamp()  # a frozen environment's monotonic clock may stand still
        is_stale = now - self._used_at.get(scheme, now) > _STALE_AFTER_S
        self._used_at[scheme] = now
        if is_stale and (old := self._clients.pop(scheme, None)) is not None:
            await old.aclose()
        if scheme not in self._clients:
            secure = scheme == "https"
            self._clients[scheme] = httpx.AsyncClient(
                verify=self._trust(secure=secure), limits=_LIMITS, trust_env=secure
            )
        return self._clients[scheme]

    def _trust(self, *, secure: bool) -> ssl.SSLContext:
        """The machine's trust for https; for plain http an empty context, which trusts nobody and costs nothing."""
        if not secure:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls = self._tls or ssl.create_default_context()
        return self._tls


def translate(exc: httpx.HTTPError) -> ProviderError:
    """The failure that an httpx error means. Its own words are left out: they may hold a URL with a key."""
    name = type(exc).__name__
    match exc:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return ConnectFailed(f"no connection to the provider ({name})")
        case httpx.TimeoutException():
            return ProviderTimeout(f"the provider did not answer in time ({name})")
        case httpx.DecodingError() | httpx.TooManyRedirects():
            return MalformedAnswer(f"the provider's answer cannot be read ({name})")
        case _:
            return ConnectionLost(f"the connection to the provider broke ({name})")


def _read(response: httpx.Response, payload: Mapping[str, Any]) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        body = None
    status = response.status_code
    if status >= 400:
        raise failures.from_answer(status, body, retry_after=response.headers.get("retry-after"), request=payload)
    if status >= 300:
        message = f"the provider answered with a redirect ({status}); give its final base_url"
        raise MalformedAnswer(message, provider_status=status)
    if not isinstance(body, dict):
        raise MalformedAnswer("the provider's answer is not a JSON object", provider_status=status)
    if body.get("error"):
        usage = read_usage(body.get("usage"))
        raise failures.from_answer(_status_within(body["error"]), body, request=payload, usage=usage)
    return body


def _status_within(error: object) -> int:
    """The status that an error inside a 200 answer speaks of (OpenRouter puts it into `code`)."""
    code = str(error.get("code")) if isinstance(error, dict) else ""
    return int(code) if code.isascii() and code.isdigit() and 400 <= int(code[:4]) < 600 else 502
