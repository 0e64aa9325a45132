"""Small things about this machine's own ports: keep one free for a child, and ask a server whether it answers."""

import asyncio
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

_POLL_S = 0.05
# A proxy in the environment is for the world outside.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ReservedPort:
    """A free port for a child that cannot say which one it picked.

    On Linux a socket that is bound, but does not listen, keeps the port from being given to anyone else, while a
    child that sets SO_REUSEADDR (as servers do) may listen on it. Elsewhere the port is only likely to stay free.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()


def fetch(url: str, *, timeout_s: float) -> bytes:
    """Returns the body of a successful GET. Raises OSError."""
    with _direct.open(url, timeout=timeout_s) as response:
        body: bytes = response.read()
        return body


async def until_answers(url: str, *, alive: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until `url` answers with success; returns False when it is not `alive` any more, or not in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while alive() and asyncio.get_running_loop().time() < deadline:
        try:
            await asyncio.to_thread(fetch, url, timeout_s=1)
        except OSError:
            await asyncio.sleep(_POLL_S)
        else:
            return True
    return False
