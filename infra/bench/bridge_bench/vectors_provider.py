"""An embedding provider in its own process that answers at once, with different vectors for consecutive texts."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

DIMENSION = 768
_DISTINCT_VECTORS = 4_096


@contextmanager
def vectors_provider() -> Iterator[int]:
    """Runs the provider until the context ends. Yields its port on loopback."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None  # noqa: S101 — both are pipes, see above
        assert process.stdout is not None  # noqa: S101 — as above
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


class _Handler(BaseHTTPRequestHandler):
    """Answers with vectors that were generated before the first request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rows: ClassVar[list[str]] = []
    served: ClassVar[int] = 0

    def do_POST(self) -> None:
        """`POST /v1/embeddings`."""
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        start = _Handler.served
        _Handler.served += len(texts)
        rows = ",".join(
            self.rows[(start + i) % _DISTINCT_VECTORS].replace("INDEX", str(i), 1) for i in range(len(texts))
        )
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        body = f'{{"object":"list","model":"m","usage":{json.dumps(usage)},"data":[{rows}]}}'.encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
        """Logs nothing."""


def _serve() -> None:
    numbers = random.Random(1)  # noqa: S311 — reproducible numbers, not a secret
    for _ in range(_DISTINCT_VECTORS):
        vector = ",".join(f"{numbers.gauss(0, 1):.7f}" for _ in range(DIMENSION))
        _Handler.rows.append(f'{{"object":"embedding","index":INDEX,"embedding":[{vector}]}}')
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
