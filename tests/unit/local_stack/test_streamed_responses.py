"""The gateway's streams over a real connection, from a function that is a fake: time limits, and who learns of what."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from local_stack.gateway import Gateway
from local_stack.http_server import HttpServer, Request, Response, Streamed, listen
from local_stack.invocation import Answer, AnswerBody
from local_stack.template import Api, Route

PRELUDE = b'{"statusCode": 200}' + bytes(8)
Use = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Streaming:
    """A function that streams what a test puts into its body."""

    def __init__(self) -> None:
        self.body = AnswerBody()

    async def invoke(self, event: bytes, *, trace_id: str = "") -> Answer:
        return Answer("application/octet-stream", self.body)

    async def flow(self) -> None:
        """Sends without end, as fast as it is read."""
        await self.body.put(PRELUDE)
        while not self.body.abandoned.is_set():
            await self.body.put(b"x" * 65536)


def serve(handler: Callable[[Request], Awaitable[Response]], use: Use) -> None:
    """Runs `use` with a connection to a server of `handler` on which a GET has been sent."""

    async def scenario() -> None:
        listening = listen("127.0.0.1")
        server = HttpServer(handler)
        await server.start(listening)
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            await asyncio.wait_for(use(reader, writer), 10)
        finally:
            writer.close()
            await server.close()

    asyncio.run(scenario())


def with_gateway(use: Callable[[Streaming, asyncio.StreamReader], Awaitable[None]], **limits_s: float) -> None:
    """Runs `use` with the function of a streamed route and the client's end of a request to it."""
    function = Streaming()
    route = Route("/a", "GET", "F", timeout_s=limits_s.pop("timeout_s", 60), streamed=True)

    async def handler(request: Request) -> Response:
        return await Gateway(Api(), [route], {"F": function}, **limits_s).handle(request)  # type: ignore[arg-type]  # all that is left are floats

    async def with_function(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await use(function, reader)

    serve(handler, with_function)


def test_a_stream_that_is_idle_for_too_long_is_aborted() -> None:
    async def use(function: Streaming, reader: asyncio.StreamReader) -> None:
        await function.body.put(PRELUDE + b"before")
        assert (await reader.read()).endswith(b"\r\n6\r\nbefore\r\n")
        await function.body.abandoned.wait()

    with_gateway(use, stream_idle_limit_s=0.05)


def test_each_chunk_resets_the_idle_timeout() -> None:
    async def use(function: Streaming, reader: asyncio.StreamReader) -> None:
        await function.body.put(PRELUDE)
        for _ in range(8):
            await asyncio.sleep(0.1)
            await function.body.put(b"x")
        function.body.end()
        assert (await reader.readuntil(b"0\r\n\r\n")).count(b"\r\n1\r\nx") == 8

    with_gateway(use, stream_idle_limit_s=0.6)


def test_a_client_that_does_not_read_is_disconnected_at_the_integration_timeout() -> None:
    async def use(function: Streaming, reader: asyncio.StreamReader) -> None:
        await function.flow()

    with_gateway(use, timeout_s=0.3)


def test_a_function_that_sends_nothing_is_a_gateway_timeout() -> None:
    async def use(function: Streaming, reader: asyncio.StreamReader) -> None:
        assert (await reader.readline()) == b"HTTP/1.1 504 Gateway Timeout\r\n"
        await function.body.abandoned.wait()

    with_gateway(use, timeout_s=0.05)


def test_a_stream_without_a_permitted_body_is_closed() -> None:
    """The head cannot be sent: a header of such a name does not exist."""
    closed = asyncio.Event()

    async def handler(request: Request) -> Response:
        return Response(200, (("no name", "x"),), Streamed(AnswerBody(), closed.set))

    async def use(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        await closed.wait()

    serve(handler, use)


def test_small_chunks_do_not_wait_for_acknowledgements() -> None:
    async def handler(request: Request) -> Response:
        connection: socket.socket = request.body.connection._writer.get_extra_info("socket")
        return Response(200, (), str(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)).encode())

    async def use(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.read(1) != b"0"

    serve(handler, use)


def test_a_request_pipelined_during_a_stream_is_answered_after_it() -> None:
    bodies = [AnswerBody(), AnswerBody()]

    async def handler(request: Request) -> Response:
        body = bodies.pop(0)
        await body.put(request.target.encode())
        if request.target != "/a":
            body.end()
        handled.append(body)
        return Response(200, (), Streamed(body))

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"2\r\n/a\r\n")
        writer.write(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        handled[0].end()
        await reader.readuntil(b"7\r\n/second\r\n0\r\n\r\n")

    handled: list[AnswerBody] = []
    serve(handler, use)
