"""Streamed chats as iterators of texts, blocking or not. `StreamedChat` decides what the bytes mean."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sekha_llm_bridge.client.chat import ChatReply
from sekha_llm_bridge.client.errors import StreamNotFinished
from sekha_llm_bridge.client.streamed_chat import StreamedChat

if TYPE_CHECKING:
    import httpx


class _Stream:
    """What both kinds of streams have."""

    _answer: StreamedChat | None = None
    _is_closed = False

    @property
    def reply(self) -> ChatReply:
        """The whole reply, once the stream has ended: model, usage, cost, finish reason. Raises `StreamNotFinished`
        before that, and the error that ended the stream.
        """
        return (self._answer or StreamedChat({})).reply()

    @property
    def text(self) -> str:
        """The text so far."""
        return self._answer.text if self._answer is not None else ""

    def _check_readable(self) -> None:
        if self._is_closed:
            raise StreamNotFinished("the stream was closed before its end: its rest cannot be read")


class ChatStream(_Stream):
    """The texts of a streamed answer, as they arrive.

    The request is sent when the first text is asked for, or on entering the context. Leaving a `for` loop or the
    context closes the response, and the bridge then cancels the answer. A stream that ends without an exception is
    complete.
    """

    def __init__(self, open_response: "Callable[[], httpx.Response]") -> None:
        self._open_response = open_response
        self._response: httpx.Response | None = None
        self._parts: Iterator[bytes] = iter(())

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        try:
            while (text := self._next()) is not None:
                yield text
        finally:
            self.close()

    def __next__(self) -> str:
        if (text := self._next()) is None:
            raise StopIteration
        return text

    def close(self) -> None:
        """Closes the response. The bridge cancels an answer that is not complete."""
        self._is_closed = True
        if self._response is not None:
            self._response.close()

    def _next(self) -> str | None:
        """Returns the next text; None at the end of a complete answer."""
        try:
            answer = self._open()
            while (text := answer.next_text()) is None:
                if answer.is_complete:
                    self.close()
                    return None
                self._check_readable()
                self._read(answer)
        except BaseException:
            self.close()
            raise
        return text

    def _open(self) -> StreamedChat:
        if self._answer is None:
            self._check_readable()
            self._response = self._open_response()
            self._answer = StreamedChat(self._response.headers)
            self._parts = self._response.iter_bytes()
        return self._answer

    def _read(self, answer: StreamedChat) -> None:
        """Reads the next bytes; after the end of the answer all that remain, so that the connection can be reused."""
        import httpx

        try:
            for part in self._parts:
                answer.receive(part)
                if not answer.is_complete:
                    return
            answer.end()
        except httpx.HTTPError as exc:
            answer.end(cause_of(exc))


class AsyncChatStream(_Stream):
    """The texts of a streamed answer, as they arrive. See `ChatStream`.

    After a `break` out of `async for`, the event loop closes the response soon; `async with` closes it at once.
    """

    def __init__(self, open_response: "Callable[[], Awaitable[httpx.Response]]") -> None:
        self._open_response = open_response
        self._response: httpx.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            while (text := await self._next()) is not None:
                yield text
        finally:
            await self.aclose()

    async def __anext__(self) -> str:
        if (text := await self._next()) is None:
            raise StopAsyncIteration
        return text

    async def aclose(self) -> None:
        """See `ChatStream.close`."""
        self._is_closed = True
        if self._response is not None:
            await self._response.aclose()

    async def _next(self) -> str | None:
        try:
            answer = await self._open()
            while (text := answer.next_text()) is None:
                if answer.is_complete:
                    await self.aclose()
                    return None
                self._check_readable()
                await self._read(answer)
        except BaseException:
            await self.aclose()
            raise
        return text

    async def _open(self) -> StreamedChat:
        if self._answer is None:
            self._check_readable()
            self._response = await self._open_response()
            self._answer = StreamedChat(self._response.headers)
            self._parts = self._response.aiter_bytes()
        return self._answer

    async def _read(self, answer: StreamedChat) -> None:
        import httpx

        if self._parts is None:
            raise RuntimeError("the stream is not open")
        try:
            async for part in self._parts:
                answer.receive(part)
                if not answer.is_complete:
                    return
            answer.end()
        except httpx.HTTPError as exc:
            answer.end(cause_of(exc))


def cause_of(exc: Exception) -> str:
    """Returns how the connection of a stream broke, in words."""
    import httpx

    if isinstance(exc, httpx.TimeoutException):
        return "nothing arrived within the timeout"
    return "the connection broke"
