"""Sends and receives JSON over the connections that all adapters share; every failure becomes a `ProviderError`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import httpcore
import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.connections import TRANSPORT_ERRORS, Connections, DecodingError, Reply
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers import failures
from sekha_llm_bridge.providers.base import malformed_answer_guard
from sekha_llm_bridge.providers.event_stream import parse_event, parse_events
from sekha_llm_bridge.providers.retry_wait import Header

_BOM = b"\xef\xbb\xbf"
Join = Callable[[list[dict[str, Any]]], dict[str, Any]]
"""Makes one answer of the events of a stream."""

_JSON = {"content-type": "application/json"}

Sign = Callable[[str, str, Mapping[str, str], bytes], Awaitable[Mapping[str, str]]]
"""Returns all headers of a request from its method, URL, headers and body, which do not change afterwards."""


class ErrorReader(Protocol):
    """Makes the `ProviderError` of an answer with an error status. See `failures.error_from_answer`, the default."""

    def __call__(
        self, status: int, content: bytes, *, header: Header, request: Mapping[str, Any], now: datetime
    ) -> ProviderError:
        """Returns the error for an answer with that status and body."""
        ...


class WireRules(NamedTuple):
    """What one wire format does in its own way: how errors are read, and how requests are signed (None: not at all)."""

    read_error: ErrorReader = failures.error_from_answer
    sign: Sign | None = None


DEFAULT_RULES = WireRules()


def request_headers(
    config: ProviderConfig, *, auth_header: str = "authorization", auth_prefix: str = "Bearer "
) -> dict[str, str]:
    """Returns the headers of every request to a provider: the configured ones and its key.

    A configured `auth_header` takes precedence over the key.
    """
    headers = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    if config.api_key is not None:
        headers.setdefault(auth_header, auth_prefix + config.api_key.get_secret_value())
    return headers


class JsonHttp:
    """An HTTP client for JSON."""

    def __init__(self, clock: Clock, connections: Connections | None = None) -> None:
        self._connections = connections or Connections(clock)
        self._clock = clock

    @property
    def connections(self) -> Connections:
        """The connections that all adapters share."""
        return self._connections

    async def post(
        self,
        url: str,
        *,
        payload: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout_s: float,
        join: Join | None = None,
        rules: WireRules = DEFAULT_RULES,
    ) -> dict[str, Any]:
        """Returns the JSON object in the answer to a POST. Raises `ProviderError` for every other answer.

        `join` makes one object of the events of a server that streams although no stream was requested.
        """
        answer = self.post_for_headers(
            url, payload=payload, headers=headers, timeout_s=timeout_s, join=join, rules=rules
        )
        return (await answer)[0]

    async def post_for_headers(
        self,
        url: str,
        *,
        payload: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout_s: float,
        join: Join | None = None,
        rules: WireRules = DEFAULT_RULES,
    ) -> tuple[dict[str, Any], Header]:
        """Returns the same as `post`, and the headers of the answer."""
        content = _encode(payload)
        sent = {**headers, **_JSON}
        reply = await self._exchange("POST", url, content=content, headers=sent, timeout_s=timeout_s, rules=rules)
        return _decode(reply, payload, self._clock, rules, join), reply.header

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        payload: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout_s: float,
        rules: WireRules = DEFAULT_RULES,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yields the parts of the answer to a POST as they arrive.

        Raises `ProviderError` for every other answer, and for a connection that breaks inside the context. Leaving the
        context before the end of the answer closes the connection.
        """
        content, sent = _encode(payload), {"accept": "text/event-stream", **headers, **_JSON}
        if rules.sign is not None:
            sent = dict(await rules.sign("POST", url, sent, content))
        streaming = self._connections.stream("POST", url, content=content, headers=sent, timeout_s=timeout_s)
        try:
            async with AsyncExitStack() as stack:
                try:
                    reply = await stack.enter_async_context(streaming)
                except ValueError as exc:
                    raise _unsendable(exc) from exc
                if not reply.is_success:
                    _decode(await reply.read_all(), payload, self._clock, rules)
                yield reply.parts
        except TRANSPORT_ERRORS as exc:
            raise translate_failure(exc) from exc

    async def get(
        self, url: str, *, headers: Mapping[str, str], timeout_s: float, rules: WireRules = DEFAULT_RULES
    ) -> dict[str, Any]:
        """Returns the JSON object in the answer to a GET. Raises `ProviderError` for every other answer."""
        reply = await self._exchange("GET", url, content=None, headers=headers, timeout_s=timeout_s, rules=rules)
        return _decode(reply, {}, self._clock, rules)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._connections.aclose()

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        rules: WireRules,
    ) -> Reply:
        if rules.sign is not None:
            headers = await rules.sign(method, url, headers, content or b"")
        try:
            return await self._connections.exchange(method, url, content=content, headers=headers, timeout_s=timeout_s)
        except TRANSPORT_ERRORS as exc:
            raise translate_failure(exc) from exc
        except ValueError as exc:
            raise _unsendable(exc) from exc


def _unsendable(exc: Exception) -> ProviderError:
    """Returns the error for a URL or a header that cannot be sent."""
    name = type(exc).__name__
    return ProviderError(FailureKind.CONNECT_FAILED, f"the provider's base_url or headers cannot be sent ({name})")


def _encode(payload: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(payload)
    except TypeError as exc:
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "the request cannot be written as JSON: it is nested too deeply"
        ) from exc


def translate_failure(exc: Exception) -> ProviderError:
    """Returns the `ProviderError` for one of `TRANSPORT_ERRORS`, without its message, which may hold a key."""
    name = type(exc).__name__
    match exc:
        case (
            httpcore.ConnectError()
            | httpcore.ConnectTimeout()
            | httpcore.ProxyError()
            | httpcore.UnsupportedProtocol()
            # raised before anything is sent, for example for a control character in a header
            | httpcore.LocalProtocolError()
        ):
            return ProviderError(FailureKind.CONNECT_FAILED, f"no connection to the provider ({name})")
        case httpcore.TimeoutException():
            return ProviderError(FailureKind.TIMEOUT, f"the provider did not answer in time ({name})")
        case DecodingError():
            return ProviderError(FailureKind.MALFORMED_ANSWER, f"the provider's answer cannot be read ({name})")
        case _:
            return ProviderError(FailureKind.CONNECTION_LOST, f"the connection to the provider broke ({name})")


def _decode(
    reply: Reply, payload: Mapping[str, Any], clock: Clock, rules: WireRules, join: Join | None = None
) -> dict[str, Any]:
    """Returns the JSON object of a reply to `payload`. Raises `ProviderError` for an error, also in a success."""
    status = reply.status
    if status >= 400:
        raise rules.read_error(status, reply.content, header=reply.header, request=payload, now=clock.now())
    if not reply.is_success:
        message = f"the provider answered with a redirect ({status}); give its final base_url"
        raise ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=status)
    body = _parse(reply.content.removeprefix(_BOM), payload, join)
    if not isinstance(body, dict):
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, "the provider's answer is not a JSON object", provider_status=status
        )
    if body.get("error"):
        raise failures.error_within_success(body, request=payload)
    return body


def _parse(content: bytes, payload: Mapping[str, Any], join: Join | None) -> object:
    """Returns the JSON value of a body; that of a stream's events, joined; None where it is neither."""
    try:
        return parse_event(content)
    except (ValueError, TypeError):
        if join is None:
            return None
    with malformed_answer_guard(None):
        events = [event for event in parse_events(content) if isinstance(event, dict)]
        if failed := [event for event in events if event.get("error")]:
            raise failures.error_within_success(failed[0], request=payload)
        return join(events) if events else None
