"""Calls the bridge by LiteLLM's client, and writes the name of the exception of each call as JSON. Runs in the
environment of the clients; the argument is the bridge's address."""

import json
import sys
from collections.abc import Callable

import litellm  # type: ignore[import-not-found]  # only in the environment of the clients

COMMON = {"api_base": f"{sys.argv[1]}/v1", "api_key": "unused", "max_retries": 0}


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as exc:  # noqa: BLE001 — its name is the result
        return type(exc).__name__
    return "ok"


def chat(model: str, text: str, **fields: object) -> Callable[[], object]:
    messages = [{"role": "user", "content": text}]
    return lambda: list(litellm.completion(model=f"openai/{model}", messages=messages, **COMMON, **fields))


def embed(*texts: str) -> Callable[[], object]:
    return lambda: litellm.embedding(model="openai/e", input=list(texts), **COMMON)


CALLS = {
    "chat": chat("gpt", "Hello"),
    "too long by the estimate": chat("gpt", "word " * 60_000),
    "too long by the provider": chat("small", "Hello"),
    "too long by the provider, streamed": chat("small", "Hello", stream=True),
    "too long for embeddings": embed("ok", "word " * 3_000, "ok"),
}
sys.stdout.write(json.dumps({name: outcome(call) for name, call in CALLS.items()}) + "\n")
