"""JSON in, JSON out, over the connections that every adapter shares; failures translated."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any

import httpcore
import httpx
import orjson

from sekha_llm_bridge.clock import Clock
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.connections import FAILURES, Connections, Reply, StreamedReply
from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers import failures

_BOM = b"\xef\xbb\xbf"
_JSON = {"content-type": "application/json"}


def request_headers(
    config: ProviderConfig, *, auth_header: str = "authorization", prefix: str = "Bearer "
) -> dict[str, str]:
    """The headers of every request to a provider: the configured ones, and its key unless they already say who asks."""
    headers = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    if config.api_key is not None:
        headers.setdefault(auth_header, prefix + config.api_key.get_secret_value())
    return headers


class JsonHttp:
    """Sends JSON and reads JSON."""

    def __init__(self, clock: Clock, connections: Connections | None = None) -> None:
        self._connections = connections or Connections(clock)
        self._clock = clock

    async def post(
        self, url: str, *, payload: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float
    ) -> dict[str, Any]:
        """The JSON object that `url` answers. Raises a `ProviderError` for everything else."""
        reply = await self._exchange(
            "POST", url, content=_encode(payload), headers={**headers, **_JSON}, timeout_s=timeout_s
        )
        return _decode(reply, payload, self._clock)

    @asynccontextmanager
    async def stream(
        self, url: str, *, payload: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[AsyncIterator[bytes] | dict[str, Any]]:
        """The parts of what `url` answers, as they come; or its whole JSON object, where it does not stream.

        Raises a `ProviderError` for everything else, and for what breaks off while it is read here. Leaving before the
        end breaks the connection off.
        """
        content, sent = _encode(payload), {"accept": "text/event-stream", **headers, **_JSON}
        streaming = self._connections.stream("POST", url, content=content, headers=sent, timeout_s=timeout_s)
        with _translating_failures():
            async with AsyncExitStack() as stack:
                with _translating_invalid_requests():
                    reply = await stack.enter_async_context(streaming)
                if _is_streamed(reply):
                    yield reply.parts
                else:
                    yield _decode(await reply.whole(), payload, self._clock)

    async def get(self, url: str, *, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """See `post`."""
        reply = await self._exchange("GET", url, content=None, headers=headers, timeout_s=timeout_s)
        return _decode(reply, {}, self._clock)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._connections.aclose()

    async def _exchange(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        with _translating_failures(), _translating_invalid_requests():
            return await self._connections.exchange(method, url, content=content, headers=headers, timeout_s=timeout_s)


@contextmanager
def _translating_failures() -> Iterator[None]:
    try:
        yield
    except FAILURES as exc:
        raise translate_failure(exc) from exc


@contextmanager
def _translating_invalid_requests() -> Iterator[None]:
    """A host or a header may be one that cannot be sent at all."""
    try:
        yield
    except (httpx.InvalidURL, ValueError) as exc:
        raise ProviderError(
            FailureKind.CONNECT_FAILED, f"the provider's base_url or headers cannot be sent ({type(exc).__name__})"
        ) from exc


def _encode(payload: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(payload)
    except TypeError as exc:
        raise ProviderError(
            FailureKind.REQUEST_REJECTED, "the request cannot be written as JSON: it is nested too deeply"
        ) from exc


def _is_streamed(reply: StreamedReply) -> bool:
    content_type = (reply.header("content-type") or "").partition(";")[0].strip().lower()
    return reply.status == HTTPStatus.OK and content_type != "application/json"


def translate_failure(exc: Exception) -> ProviderError:
    """The failure that one of `FAILURES` means. Its own words are left out: they may hold a URL with a key."""
    name = type(exc).__name__
    match exc:
        case (
            httpcore.ConnectError()
            | httpcore.ConnectTimeout()
            | httpcore.ProxyError()
            | httpcore.UnsupportedProtocol()
            # What this side may not send, such as a control character in a header: nothing went out.
            | httpcore.LocalProtocolError()
        ):
            return ProviderError(FailureKind.CONNECT_FAILED, f"no connection to the provider ({name})")
        case httpcore.TimeoutException():
            return ProviderError(FailureKind.TIMEOUT, f"the provider did not answer in time ({name})")
        case httpx.DecodingError():
            return ProviderError(FailureKind.MALFORMED_ANSWER, f"the provider's answer cannot be read ({name})")
        case _:
            return ProviderError(FailureKind.CONNECTION_LOST, f"the connection to the provider broke ({name})")


def _decode(reply: Reply, payload: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    try:
        body = orjson.loads(reply.content.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        body = None
    status = reply.status
    if status >= 400:
        after = reply.header("retry-after")
        raise failures.error_from_answer(status, body, retry_after=after, request=payload, now=clock.now())
    if status >= 300:
        message = f"the provider answered with a redirect ({status}); give its final base_url"
        raise ProviderError(FailureKind.MALFORMED_ANSWER, message, provider_status=status)
    if not isinstance(body, dict):
        raise ProviderError(
            FailureKind.MALFORMED_ANSWER, "the provider's answer is not a JSON object", provider_status=status
        )
    if body.get("error"):
        raise failures.error_within_success(body, request=payload)
    return body
