"""A provider on loopback that sends given bytes, for tests of unusual or invalid HTTP."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Wire:
    """Sends `answer` for each complete request. `then_close` closes the connection after it; `silent` sends nothing."""

    answer: bytes
    then_close: bool = False
    silent: bool = False
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed a connection."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while request := await _request(reader):
            self.requests.append(request)
            if not self.silent:
                writer.write(self.answer)
                await writer.drain()
            if self.then_close:
                break
        else:
            self.closed.set()
        writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    """The head of the next request; empty when the client has closed the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    return head


@asynccontextmanager
async def wire(
    answer: bytes, *, host: str = "127.0.0.1", then_close: bool = False, silent: bool = False
) -> AsyncIterator[Wire]:
    """Runs a `Wire` on a free port of `host` inside the context."""
    server = Wire(answer, then_close=then_close, silent=silent)
    listener = await asyncio.start_server(server.serve, host, 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def reply(content: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    """A complete answer with its content-length."""
    head = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(content)}", "", ""]
    return "\r\n".join(head).encode("latin-1") + content
