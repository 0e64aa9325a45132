"""The llama.cpp server of the local stack, for tests that call it directly."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environment
from tests.fakes.servers import free_port, wait_until_ready

_SERVER = Path(environment.__file__).parent / "local_stack" / "chat_server.py"


@contextmanager
def llama_server(template: Path | None = None) -> Iterator[str]:
    """Runs a server. Yields its address, without a path. `template`: see `chat_server`."""
    python = environment.make("model", environment.find_python()) / "bin" / "python"
    port = free_port()
    process = subprocess.Popen(
        [python, _SERVER, str(port), *filter(None, [template])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)
