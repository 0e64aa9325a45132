"""Asks llama.cpp's own endpoints and the bridge's, with llama.cpp behind it, and keeps the answers."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import httpx

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from tests.fakes.functions import Function
from tests.fakes.message_events import check_message_events, read_events
from tests.fakes.response_events import check_response_events, parse_response_events
from tests.fakes.settings import chat_model, make_settings, provider
from tests.integration.llama_cpp.cases import CASES, MODEL, Case, Json

PATHS = {"messages": "/v1/messages", "responses": "/v1/responses"}
PROVIDER_TYPES = ("openai", "anthropic")
_TIMEOUT_S = 120.0


class Answer(NamedTuple):
    """The status and body of a whole answer, and those of a streamed one: its events, without pings."""

    status: int
    body: Any
    stream_status: int
    events: list[Json]


class Ask(NamedTuple):
    """One request of a case: its API, and the format that the bridge speaks to llama.cpp."""

    case: Case
    api: str
    provider_type: str

    @property
    def body(self) -> Json:
        return {"model": MODEL, **getattr(self.case, self.api)}

    def __str__(self) -> str:
        return f"{self.api} over {self.provider_type}: {self.case.name}"


ASKS = tuple(
    Ask(case, api, provider_type)
    for case in CASES
    for api in PATHS
    for provider_type in PROVIDER_TYPES
    if getattr(case, api) is not None
)


class Sides:
    """Both sides' answers: each request is made once, when it is first needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._own: dict[tuple[str, str], Answer] = {}
        self._bridge: dict[str, Answer] = {}
        self._functions: dict[tuple[str, str], Function] = {}

    def own(self, ask: Ask) -> Answer:
        """llama.cpp's own answer."""
        key = (ask.api, ask.case.name)
        if key not in self._own:
            whole = self.post(PATHS[ask.api], ask.body)
            stream = self.post(PATHS[ask.api], {**ask.body, "stream": True})
            events = _events(stream.text.split("\n\n")) if stream.status_code == 200 else []
            self._own[key] = Answer(whole.status_code, whole.json(), stream.status_code, events)
        return self._own[key]

    def bridge(self, ask: Ask) -> Answer:
        """The bridge's answer. Its events have been checked by the state machine of the API."""
        if str(ask) not in self._bridge:
            function = self.function(ask.api, ask.provider_type)
            path, timeout_ms = PATHS[ask.api], int(_TIMEOUT_S * 1000)
            whole = function("POST", path, ask.body, remaining_ms=timeout_ms)
            stream = function("POST", path, {**ask.body, "stream": True}, remaining_ms=timeout_ms)
            events = _checked_events(ask.api, stream.text) if stream.status == 200 else []
            self._bridge[str(ask)] = Answer(whole.status, whole.json(), stream.status, events)
        return self._bridge[str(ask)]

    def post(self, path: str, body: Json) -> httpx.Response:
        """A request to llama.cpp itself."""
        return httpx.post(f"{self._url}{path}", json=body, timeout=_TIMEOUT_S)

    def function(self, api: str, provider_type: str) -> Function:
        """The function of an API over llama.cpp, as a provider of that format."""
        key = (api, provider_type)
        if key not in self._functions:
            self._functions[key] = Function(api, self.bridge_over(provider_type))
        return self._functions[key]

    def bridge_over(self, provider_type: str) -> Bridge:
        """A new bridge with llama.cpp as a provider of that format. Its own count of tokens is trusted."""
        is_anthropic = provider_type == "anthropic"
        fields = (
            {"base_url": self._url, "trust_token_counts": True} if is_anthropic else {"base_url": f"{self._url}/v1"}
        )
        model = chat_model(MODEL, context_window=2048, supports_function_calling=True)
        return make_bridge(make_settings(provider("llama", model, provider_type=provider_type, api_key="k", **fields)))


def _checked_events(api: str, text: str) -> list[Json]:
    if api == "messages":
        events = read_events(text)
        check_message_events(events)
        return [event for event in events if event["type"] != "ping"]
    events = parse_response_events(text)
    check_response_events(events)
    return events


def _events(blocks: Iterable[str]) -> list[Json]:
    lines = [line for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]
