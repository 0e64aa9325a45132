"""Compares embedding and storing through the bridge with the same two direct calls, in one run.

The direct calls send the same texts to the same provider with httpx, and the vectors with ids and texts to a collection
of the same kind with chromadb-client's `collection.upsert`. Both alternate. Each has its own collection on one real
Chroma server; both collections grow equally. The bridge also plans, validates and formats the response.
"""

import argparse
import hashlib
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import chromadb
import httpx

from bridge_bench.chroma_process import chroma_process
from bridge_bench.lambda_function import LambdaContext, load_handler
from bridge_bench.vectors_provider import DIMENSION, vectors_provider

_PATH = "/v1/embeddings"
_SIZES = (1, 32, 256, 1_000)


def main(arguments: Sequence[str]) -> None:
    """Records embedded and stored per second, compared with direct calls with httpx and chromadb-client."""
    parser = argparse.ArgumentParser(prog="infra/bench/run storing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="requests of each size and kind (%(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="texts in a request (%(default)s)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place, vectors_provider() as port:
        folder = Path(place)
        with chroma_process(folder / "chroma") as url:
            _compare(folder, url, port, options.sizes, options.rounds)


def _compare(folder: Path, url: str, port: int, sizes: Sequence[int], rounds: int) -> None:
    _configure(folder, url, port)
    bridge, direct = _bridge(), _direct(url, port)
    print(f"{DIMENSION} dimensions, median of {rounds} requests: texts per second; ratio = bridge time / direct time\n")
    print(f"{'texts':>6} {'bridge':>12} {'direct':>12} {'ratio':>7}")
    for size in sizes:
        print(_row(size, rounds, bridge, direct))


def _row(size: int, rounds: int, bridge: Callable[[list[str]], None], direct: Callable[[list[str]], None]) -> str:
    took: dict[str, list[float]] = {"bridge": [], "direct": []}
    for turn in range(rounds + 1):
        texts = [f"record {i} of round {turn} of size {size}, with some words to be stored" for i in range(size)]
        for name, call in (("bridge", bridge), ("direct", direct))[:: 1 if turn % 2 else -1]:
            began_s = time.perf_counter()
            call(texts)
            took[name].append(time.perf_counter() - began_s)
    bridge_s, direct_s = (statistics.median(seconds[1:]) for seconds in took.values())  # the first call warms up
    return f"{size:>6} {size / bridge_s:>12,.0f} {size / direct_s:>12,.0f} {bridge_s / direct_s:>7.2f}"


def _bridge() -> Callable[[list[str]], None]:
    log = io.StringIO()  # apart from the rows that are printed
    with redirect_stdout(log):
        handler = load_handler("embeddings")

    def call(texts: list[str]) -> None:
        with redirect_stdout(log):
            answer = handler(_event({"input": texts, "collection": "bridge"}), LambdaContext())
        stored = json.loads(answer["body"])["bridge"]["stored"]
        if stored != len(texts):
            raise SystemExit(f"the bridge stored {stored} of {len(texts)}: {answer['body'][-500:]}")

    return call


def _direct(url: str, port: int) -> Callable[[list[str]], None]:
    host, _, chroma_port = url.removeprefix("http://").partition(":")
    collection = chromadb.HttpClient(host, int(chroma_port)).create_collection(
        f"direct_{DIMENSION}", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    client = httpx.Client(timeout=60)

    def call(texts: list[str]) -> None:
        answer = client.post(f"http://127.0.0.1:{port}{_PATH}", json={"model": "m", "input": texts}).json()
        collection.upsert(
            ids=[hashlib.sha256(text.encode()).hexdigest() for text in texts],
            embeddings=[row["embedding"] for row in answer["data"]],
            documents=texts,
        )

    return call


def _configure(folder: Path, chroma_url: str, port: int) -> None:
    file = folder / "llm_providers.yaml"
    model = {"model_id": "m", "task": "embedding", "context_window": 8192, "dimension": DIMENSION}
    row = {"id": "p", "provider_type": "litellm", "base_url": f"http://127.0.0.1:{port}/v1", "models": [model]}
    file.write_text(json.dumps({"providers": [row], "chroma": {"url": chroma_url}}))
    os.environ |= {"LLM_CONFIG_PATH": str(file), "POWERTOOLS_LOG_LEVEL": "ERROR"}
    os.environ.pop("STATE_TABLE", None)


def _event(body: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    return {
        "resource": _PATH,
        "path": _PATH,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {"requestId": "bench", "stage": "prod", "path": f"/prod{_PATH}"},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }
