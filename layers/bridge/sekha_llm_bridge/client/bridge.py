"""`LlmBridge` and `AsyncLlmBridge`: the calls of this package as methods, blocking or not.

Each method is a function that makes a `Call`, wrapped by one of the three functions below. So a method exists once,
with its arguments, its documentation and its types, and both classes have it.
"""

import copy
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from sekha_llm_bridge.client import chat as chats
from sekha_llm_bridge.client import memory, vectors
from sekha_llm_bridge.client import models as catalogue
from sekha_llm_bridge.client import usage as usages
from sekha_llm_bridge.client.addresses import DEFAULT_BASE_URL
from sekha_llm_bridge.client.call import Call
from sekha_llm_bridge.client.chat import ChatReply
from sekha_llm_bridge.client.streams import AsyncChatStream, ChatStream

if TYPE_CHECKING:
    import httpx

    from sekha_llm_bridge.client.transport import AsyncTransport, BlockingTransport, Timeout, Transport

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Any])
_ABOUT_STREAMS = """
    Returns an iterator of the texts of the answer, as they arrive; the request is sent when the first is asked for.
    Leaving the `for` loop closes the response. At the end, `reply` of the iterator is the whole reply.
    """
_UNCHANGED = -1.0  # a timeout that is not changed; see `transport.UNCHANGED`


def _blocking(make_call: Callable[P, Call[T]]) -> "Callable[Concatenate[LlmBridge, P], T]":
    def method(bridge: "LlmBridge", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return bridge.transport.run(make_call(*args, **kwargs))

    return _described(method, make_call)


def _awaited(make_call: Callable[P, Call[T]]) -> "Callable[Concatenate[AsyncLlmBridge, P], Coroutine[Any, Any, T]]":
    async def method(bridge: "AsyncLlmBridge", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await bridge.transport.run(make_call(*args, **kwargs))

    return _described(method, make_call)


def _blocking_stream(make_call: Callable[P, Call[ChatReply]]) -> "Callable[Concatenate[LlmBridge, P], ChatStream]":
    def method(bridge: "LlmBridge", /, *args: P.args, **kwargs: P.kwargs) -> ChatStream:
        call = chats.streamed(make_call(*args, **kwargs))
        return ChatStream(lambda: bridge.transport.open(call))

    return _described(method, make_call, name="stream", more=_ABOUT_STREAMS)


def _awaited_stream(
    make_call: Callable[P, Call[ChatReply]],
) -> "Callable[Concatenate[AsyncLlmBridge, P], AsyncChatStream]":
    def method(bridge: "AsyncLlmBridge", /, *args: P.args, **kwargs: P.kwargs) -> AsyncChatStream:
        call = chats.streamed(make_call(*args, **kwargs))
        return AsyncChatStream(lambda: bridge.transport.open(call))

    return _described(method, make_call, name="stream", more=_ABOUT_STREAMS)


def _described(method: M, make_call: Callable[..., Any], *, name: str = "", more: str = "") -> M:
    """Gives a method the documentation of its function, and its signature after `self`, for `help()` and editors."""
    signature = inspect.signature(make_call)
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    described: Any = method
    described.__name__ = name or make_call.__name__
    described.__doc__ = f"{make_call.__doc__}{more}"
    described.__signature__ = signature.replace(
        parameters=[this, *signature.parameters.values()], return_annotation=inspect.Signature.empty
    )
    return method


class _Client:
    """What both clients have besides the calls."""

    transport: "Transport[Any, Any]"
    """Sends the calls; not part of the public interface."""

    @property
    def base_url(self) -> str:
        """The address of the bridge, without `/v1`."""
        return self.transport.options.base_url

    def with_options(
        self,
        *,
        timeout: "Timeout" = _UNCHANGED,
        max_retries: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Returns a client with other options, for one call or for many, such as the header `Idempotency-Key`. It
        shares the connections of this one, and need not be closed.
        """
        other = copy.copy(self)
        other.transport = self.transport.changed(timeout, max_retries, headers)
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"


class LlmBridge(_Client):
    """A client of the bridge. Its methods block; threads may share it.

    `base_url` may end in a slash or in `/v1`. `api_key` is the bridge's key, if it needs one. `timeout` is in seconds,
    or an `httpx.Timeout`, or None for none: the time in which the answer must begin, and between its parts; 10 s of it
    at most to connect. `max_retries` is how often a call is repeated, only where nothing can have been billed yet, and
    never a stream that has begun. `proxy`, and the environment's proxies and certificates unless `trust_env` is False,
    are used as httpx does. `http_client` is a client of your own, which is not closed here. `sleep` and `random` are
    for tests.

    Every error is a `BridgeError`.
    """

    transport: "BlockingTransport"

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        timeout: "Timeout" = 120.0,
        max_retries: int = 2,
        http_client: "httpx.Client | None" = None,
        *,
        proxy: "str | httpx.Proxy | None" = None,
        trust_env: bool = True,
        sleep: Callable[[float], object] | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        from sekha_llm_bridge.client import transport

        arguments = transport.Arguments(base_url, api_key, timeout, max_retries, proxy, trust_env, random)
        self.transport = transport.BlockingTransport.made(arguments, http_client, sleep)

    chat = _blocking(chats.chat)
    chat_with_image = _blocking(chats.chat_with_image)
    stream = _blocking_stream(chats.chat)
    embed = _blocking(vectors.embed)
    search = _blocking(vectors.search)
    route = _blocking(catalogue.route)
    models = _blocking(catalogue.models)
    names = _blocking(catalogue.names)
    health = _blocking(catalogue.health)
    usage = _blocking(usages.usage)
    summarize = _blocking(memory.summarize)
    extract = _blocking(memory.extract)
    score = _blocking(memory.score)

    def close(self) -> None:
        """Closes the connections, but not those of an `http_client` that was given."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class AsyncLlmBridge(_Client):
    """A client of the bridge for asyncio. Its methods are awaited, `stream` is iterated; otherwise see `LlmBridge`."""

    transport: "AsyncTransport"

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        timeout: "Timeout" = 120.0,
        max_retries: int = 2,
        http_client: "httpx.AsyncClient | None" = None,
        *,
        proxy: "str | httpx.Proxy | None" = None,
        trust_env: bool = True,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        from sekha_llm_bridge.client import transport

        arguments = transport.Arguments(base_url, api_key, timeout, max_retries, proxy, trust_env, random)
        self.transport = transport.AsyncTransport.made(arguments, http_client, sleep)

    chat = _awaited(chats.chat)
    chat_with_image = _awaited(chats.chat_with_image)
    stream = _awaited_stream(chats.chat)
    embed = _awaited(vectors.embed)
    search = _awaited(vectors.search)
    route = _awaited(catalogue.route)
    models = _awaited(catalogue.models)
    names = _awaited(catalogue.names)
    health = _awaited(catalogue.health)
    usage = _awaited(usages.usage)
    summarize = _awaited(memory.summarize)
    extract = _awaited(memory.extract)
    score = _awaited(memory.score)

    async def aclose(self) -> None:
        """See `LlmBridge.close`."""
        await self.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
