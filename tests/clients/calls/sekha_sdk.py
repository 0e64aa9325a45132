"""The published Python SDK of Sekha, `sekha-python-sdk`: its `BridgeClient`."""

import asyncio
from typing import Any

from sekha import BridgeClient, SekhaAPIError  # type: ignore[import-not-found]  # only in its own environment

from tests.clients.calls import outcomes
from tests.clients.calls.outcomes import CHAT_MODEL, EMBEDDING_MODEL, QUESTION, TEXTS, Outcome

ASK = [{"role": "user", "content": QUESTION}]


def client() -> BridgeClient:
    return BridgeClient(outcomes.ADDRESS, api_key=outcomes.API_KEY, max_retries=1)


async def chat() -> Outcome:
    async with client() as bridge:
        answer = await bridge.complete(ASK, model=CHAT_MODEL, temperature=0.7, max_tokens=500)
    is_counted = answer["usage"]["total_tokens"] > 0
    return {**outcomes.text_outcome(answer["choices"][0]["message"]["content"]), "is_counted": is_counted}


async def stream() -> Outcome:
    async with client() as bridge:
        deltas = [chunk["choices"][0].get("delta", {}) async for chunk in bridge.stream_complete(ASK)]
    pieces = [delta["content"] for delta in deltas if delta.get("content")]
    return outcomes.text_outcome("".join(pieces), len(pieces))


async def embed() -> Outcome:
    async with client() as bridge:
        answers = [await bridge.embed(text, model=EMBEDDING_MODEL) for text in TEXTS]
    dimensions = {answer["dimension"] for answer in answers}
    is_counted = all(answer["tokens_used"] > 0 for answer in answers)
    vectors = outcomes.vectors_outcome([answer["embedding"] for answer in answers])
    return {**vectors, "dimension": dimensions.pop(), "is_counted": is_counted}


async def health() -> Outcome:
    async with client() as bridge:
        answer = await bridge.health()
    return {"status": answer["status"], "has_models": bool(answer["models_loaded"])}


async def error() -> Outcome:
    async with client() as bridge:
        try:
            await bridge.complete(ASK, model="no-such-model")
        except SekhaAPIError as exc:
            return {**outcomes.error_outcome(exc), "status": exc.status_code}
    return {}


def synchronous(call: Any) -> Any:
    return lambda: asyncio.run(call())


if __name__ == "__main__":
    calls = {"chat": chat, "stream": stream, "embed": embed, "health": health, "error": error}
    outcomes.run("sekha-python-sdk", {name: synchronous(call) for name, call in calls.items()})
