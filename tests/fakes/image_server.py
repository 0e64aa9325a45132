"""A web server on loopback that sends exactly the given bytes, to test what fetches from strangers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Parts = AsyncIterator[bytes]
Answer = bytes | Callable[[], Parts]
"""The bytes of an answer with its head, whole or in parts."""


@dataclass
class ImageServer:
    """`answers` are by path. `requests` has what was received, `peers` the local address of each connection."""

    port: int
    answers: dict[str, Answer]
    requests: list[str] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    n_open: int = 0
    most_open: int = 0
    n_sent: int = 0

    def url(self, path: str, host: str = "images.example.com", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def image_server(
    answers: dict[str, Answer], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[ImageServer]:
    """Serves until the context is left."""
    state = ImageServer(0, answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.n_open += 1
        state.most_open = max(state.most_open, state.n_open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            state.requests.append(head)
            state.peers.append(writer.get_extra_info("sockname")[0])
            answer = answers[head.split()[1]]
            async for part in _whole(answer) if isinstance(answer, bytes) else answer():
                writer.write(part)
                state.n_sent += len(part)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client has had enough
        finally:
            state.n_open -= 1
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()


async def _whole(answer: bytes) -> Parts:
    yield answer


def ok(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """An answer with a Content-Length, by default the true one."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    """A redirect."""
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
