"""Many streams through every inbound API at once, over providers of three formats that are cut at random places.

A stream that was cut never ends as a whole one does, and one that was not cut is whole, whatever runs beside it.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.cut_provider import TEXT, Cut, CutProvider
from tests.fakes.functions import Function
from tests.fakes.message_events import check_message_events, read_events
from tests.fakes.ollama_lines import check_ollama_lines, read_lines
from tests.fakes.response_events import check_response_events, parse_response_events
from tests.fakes.settings import chat_model, make_settings, provider

STREAMS_OF_AN_API = 20
MODELS = ("gpt", "claude", "llama")
OK = 200


class Api(NamedTuple):
    """An inbound API: its function, its path, a request, and what reads a stream: the text of a whole answer, or None
    for one that ended with an error. It raises `AssertionError` where a client could take neither from the stream.
    """

    function: str
    path: str
    body: Callable[[str], dict[str, Any]]
    read: Callable[[str], str | None]


def _messages_body(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


def _read_chat(text: str) -> str | None:
    *events, last, empty = text.split("\n\n")
    assert empty == ""
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if not event.startswith(":")]
    if last != "data: [DONE]":
        assert "error" in json.loads(last.removeprefix("data: ")), last
        return None
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def _read_messages(text: str) -> str | None:
    stream = check_message_events(read_events(text))
    return stream.text if stream.is_whole else None


def _read_responses(text: str) -> str | None:
    response = check_response_events(parse_response_events(text))
    if response["status"] == "failed":
        return None
    return "".join(part["text"] for item in response["output"] for part in item["content"])


def _read_ollama(text: str) -> str | None:
    stream = check_ollama_lines(read_lines(text))
    return stream.text if stream.is_whole else None


APIS = (
    Api("chat_completions", "/v1/chat/completions", _messages_body, _read_chat),
    Api("messages", "/v1/messages", lambda prompt: {**_messages_body(prompt), "max_tokens": 100}, _read_messages),
    Api("responses", "/v1/responses", lambda prompt: {"input": prompt}, _read_responses),
    Api("ollama", "/api/chat", _messages_body, _read_ollama),
)


class Sent(NamedTuple):
    """One request: through which API, for which model, and where its stream is cut."""

    api: Api
    model: str
    cut: Cut | None


@pytest.fixture
def functions() -> Iterator[dict[str, Function]]:
    """The function of each API over one provider of each format, which has its own model; no breaker opens."""
    with CutProvider() as openai, CutProvider() as anthropic, CutProvider() as ollama:
        bridge = make_bridge(
            make_settings(
                provider("o", chat_model("gpt"), base_url=f"{openai.url}/v1"),
                provider("a", chat_model("claude"), provider_type="anthropic", base_url=anthropic.url, api_key="k"),
                provider("l", chat_model("llama", price=None), provider_type="ollama", base_url=ollama.url),
                routing={"circuit_breaker": {"failure_threshold": 1000}},
            )
        )
        yield {api.function: Function(api.function, bridge) for api in APIS}


def random_requests(seed: int) -> list[Sent]:
    """Requests in a random order, `STREAMS_OF_AN_API` through each API. Three in four streams are cut."""
    chosen = random.Random(seed)  # noqa: S311 — reproducible choices, not a secret
    cuts = [None, Cut(0.0, "closed"), Cut(1.0, "reset"), Cut(1.0, "closed")]

    def cut() -> Cut | None:
        return chosen.choice(
            [*cuts, *(Cut(round(chosen.random(), 3), chosen.choice(["closed", "reset"])) for _ in cuts)]
        )

    found = [Sent(api, chosen.choice(MODELS), cut()) for api in APIS for _ in range(STREAMS_OF_AN_API)]
    chosen.shuffle(found)
    return found


async def answers(functions: dict[str, Function], requests: list[Sent]) -> list[httpx.Response]:
    """The answers to requests that are sent at once."""
    clients = {name: function.client() for name, function in functions.items()}

    async def answer(sent: Sent) -> httpx.Response:
        prompt = f"Say it. {sent.cut or ''}"
        body = {"model": sent.model, "stream": True, **sent.api.body(prompt)}
        return await clients[sent.api.function].post(sent.api.path, json=body, timeout=60)

    try:
        return await asyncio.gather(*map(answer, requests))
    finally:
        for client in clients.values():
            await client.aclose()


@pytest.mark.parametrize("seed", range(3))
def test_no_stream_that_was_cut_ends_as_a_whole_one_does(functions: dict[str, Function], seed: int) -> None:
    requests = random_requests(seed)
    found = asyncio.run(answers(functions, requests))
    for sent, answer in zip(requests, found, strict=True):
        if answer.status_code != OK:
            assert sent.cut is not None, (sent, answer.text)
            assert answer.status_code in {502, 503}, (sent, answer.text)
        else:
            assert sent.api.read(answer.text) == (None if sent.cut else TEXT), (sent, answer.text)
    outcomes = {(sent.cut is None, answer.status_code == OK) for sent, answer in zip(requests, found, strict=True)}
    assert outcomes == {(True, True), (False, True), (False, False)}, "whole, cut after the first token, cut before it"
