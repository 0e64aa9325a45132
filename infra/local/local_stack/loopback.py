"""Ports of this machine: reserves a port for a child process, and waits until a server answers."""

import asyncio
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

_POLL_S = 0.05
# A proxy of the environment is not used for this machine.
_opener_without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ReservedPort:
    """A free port for a child process that cannot report which port it picked.

    On Linux, a socket that is bound but does not listen reserves the port, while a child that sets SO_REUSEADDR (as
    servers do) can listen on it. On other systems, the port is not reserved, but probably stays free.
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
    with _opener_without_proxy.open(url, timeout=timeout_s) as response:
        body: bytes = response.read()
        return body


async def until_answers(url: str, *, alive: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until a GET of `url` succeeds. Returns False when `alive` is false, or after `timeout_s` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while alive() and asyncio.get_running_loop().time() < deadline:
        try:
            await asyncio.to_thread(fetch, url, timeout_s=1)
        except OSError:
            await asyncio.sleep(_POLL_S)
        else:
            return True
    return False
