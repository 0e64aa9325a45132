"""Real servers in processes of their own."""

import contextlib
import socket
import subprocess
import time

import httpx


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Returns when a GET of `url` succeeds. Raises RuntimeError when the process ends before, or after a minute."""
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(url, timeout=2).raise_for_status()
            return
        time.sleep(0.1)
    raise RuntimeError("the server did not answer within a minute")
