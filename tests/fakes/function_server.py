"""Serves a function's app over HTTP on loopback, with answers that are streamed as they are made."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.types import ASGIApp

from local_stack.http_server import HttpServer, Request, Response, Streamed

_MAX_BODY_BYTES = 10_000_000


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Yields the base URL of a server of an app. The app runs in an event loop of its own."""
    loop = asyncio.new_event_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(_AppHandler(app).answer)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(listening), loop).result(timeout=10)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


class _AppHandler:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def answer(self, request: Request) -> Response:
        """Returns the app's response once it has begun. The app is cancelled when the client disconnects."""
        body = await request.body.read(_MAX_BODY_BYTES)
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        is_gone = asyncio.Event()
        received = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if received:
                return received.pop()
            await is_gone.wait()
            return {"type": "http.disconnect"}

        running = asyncio.ensure_future(self._app(_scope(request), receive, sent.put))  # type: ignore[arg-type]
        running.add_done_callback(lambda _: sent.put_nowait({"type": "end"}))
        start = await sent.get()
        if start["type"] != "http.response.start":
            raise RuntimeError("the app has ended without an answer") from running.exception()

        async def chunks() -> AsyncIterator[bytes]:
            while (message := await sent.get())["type"] == "http.response.body":
                if message.get("body"):
                    yield message["body"]
                if not message.get("more_body"):
                    return
            raise ConnectionResetError("the app has ended in the middle of its answer")

        headers = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        return Response(start["status"], headers, Streamed(chunks(), close=is_gone.set))


def _scope(request: Request) -> dict[str, Any]:
    path, _, query = request.target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
