"""A server on loopback that sends exactly the given bytes, to show what a client makes of broken answers."""

import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class RawServer:
    """Sends one of `answers` for each connection, in their order, the last one again and again; then it closes the
    connection. None never answers, until the server ends.

    `requests` has what was received up to the end of the headers and the body.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self._answers: Sequence[bytes | None] = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self.requests: list[bytes] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
            with connection:
                self.requests.append(_request(connection))
                if answer is None:
                    self._ended.wait(timeout=30)
                else:
                    connection.sendall(answer)


def http(
    body: bytes, *, status: str = "200 OK", content_type: str = "application/json", headers: str = "", length: int = -1
) -> bytes:
    """Returns an HTTP answer; `length` is the announced one, where it is not that of the body."""
    size = len(body) if length < 0 else length
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {size}\r\n{headers}\r\n"
    return head.encode() + body


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := connection.recv(65536)):
            return received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length and (part := connection.recv(65536)):
        body += part
    return head + b"\r\n\r\n" + body
