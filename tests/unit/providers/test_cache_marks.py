"""Marks for the cache: which adapter sends them, where the bridge sets its own, and what a server does not know."""

from collections.abc import Mapping
from typing import Any

import pytest

from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.api.messages.conversation import conversation_of as message_conversation_of
from sekha_llm_bridge.bootstrap import make_bridge
from sekha_llm_bridge.config.models import ProviderConfig
from sekha_llm_bridge.conversation import (
    CacheControl,
    CacheLifetime,
    Conversation,
    Message,
    OtherTool,
    Role,
    Text,
    WireFormat,
    cache_marks_of,
)
from sekha_llm_bridge.errors import Failure, FailureKind
from sekha_llm_bridge.providers import ChatCall, cache_support
from sekha_llm_bridge.providers.anthropic.request import with_marked_prefix
from sekha_llm_bridge.providers.bedrock.request import chat_body
from sekha_llm_bridge.providers.cache_control import CACHE_ADAPTATIONS, without_marks
from sekha_llm_bridge.providers.openai.request import chat_payload
from sekha_llm_bridge.providers.openai.vendors import vendor_of
from tests.fakes.functions import Function
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.api.chat_function import PATH

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
RULES = "Read the file before you change it, and run its tests afterwards. " * 400


def part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def message(role: str, content: object, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def conversation(*messages: dict[str, Any], **fields: Any) -> Conversation:
    return conversation_of({"messages": list(messages), **fields})


HI = message("user", "hi")


def config(kind: str, base_url: str | None = None, model: str = "m") -> ProviderConfig:
    fields = {} if base_url is None else {"base_url": base_url}
    return ProviderConfig.model_validate(provider("p", chat_model(model), provider_type=kind, api_key="k", **fields))


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        ({}, CacheLifetime.NONE),
        ({"cache_control": MARK}, CacheLifetime.MINUTES),
        ({"cache_control": {**MARK, "ttl": "5m"}}, CacheLifetime.MINUTES),
        ({"cache_control": HOUR}, CacheLifetime.HOUR),
        ({"cache_control": {**MARK, "ttl": "1d"}}, CacheLifetime.OTHER),
        ({"cache_control": {**MARK, "ttl": ["1h"]}}, CacheLifetime.OTHER),
        ({"cache_control": "an hour"}, CacheLifetime.OTHER),
        ({"cache_control": None}, CacheLifetime.NONE),
        ({"tools": [{**TOOL, "cache_control": HOUR}]}, CacheLifetime.HOUR),
        ({"tools": [{"type": "function", "function": {**FUNCTION, "cache_control": HOUR}}]}, CacheLifetime.HOUR),
        ({"tools": [{"type": "web_search_20250305", "cache_control": HOUR}]}, CacheLifetime.HOUR),
        ({"messages": [message("user", "a", cache_control=HOUR)]}, CacheLifetime.HOUR),
        ({"messages": [message("user", [part("a", cache_control=HOUR)])]}, CacheLifetime.HOUR),
        ({"messages": [message("user", [{"type": "x", "content": [part("a", cache_control=HOUR)]}])]}, CacheLifetime.HOUR),
        ({"messages": [message("user", [part("a", cache_control=MARK), part("b", cache_control=HOUR)])]}, CacheLifetime.HOUR),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"cache_control": HOUR}}}]}, CacheLifetime.NONE),
    ],
    ids=str,
)  # fmt: skip
def test_the_longest_mark_is_found_wherever_it_is(fields: dict[str, Any], lifetime: CacheLifetime) -> None:
    assert cache_marks_of(conversation_of({"messages": [HI], **fields})).lifetime is lifetime


def test_a_mark_within_a_document_in_blocks_is_found_and_dropped() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    marked = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    document = {"type": "document", "source": {"type": "content", "content": [image, marked]}}
    fields = {"messages": [{"role": "user", "content": [document]}], "max_tokens": 9}
    assert cache_marks_of(message_conversation_of(fields)).lifetime is CacheLifetime.HOUR
    changed = without_marks(fields)
    assert changed is not None
    assert "cache_control" not in str(changed)


@pytest.mark.parametrize(
    ("model_id", "at_anthropic", "at_bedrock"),
    [
        ("claude-opus-4-7", 2048, 4096),
        ("claude-opus-4-5-20251101", 4096, 4096),
        ("claude-opus-5-5", 512, 512),
        ("claude-haiku-4-5-20251001", 4096, 4096),
        ("claude-haiku-5-5", 512, 512),
        ("claude-sonnet-4-5-20250929", 1024, 1024),
        ("claude-sonnet-5", 1024, 1024),
        ("claude-3-5-haiku-20241022", 2048, 2048),
        ("claude-fable-5-1", 512, 512),
        ("claude-mythos-preview", 2048, 4096),
        ("claude-novel-9", 4096, 4096),
    ],
)
def test_the_shortest_prefix_is_what_the_vendor_documents(model_id: str, at_anthropic: int, at_bedrock: int) -> None:
    assert cache_support(config("anthropic"), model_id).min_prefix_tokens == at_anthropic
    assert cache_support(config("bedrock"), f"eu.anthropic.{model_id}-v1:0").min_prefix_tokens == at_bedrock


def test_openrouters_names_have_the_minimum_of_anthropics() -> None:
    assert cache_support(config("openrouter"), "anthropic/claude-haiku-4.5").min_prefix_tokens == 4096
    assert cache_support(config("openrouter"), "openai/gpt-6-sol").min_prefix_tokens is None
    assert cache_support(config("litellm", "http://h:4000"), "claude-sonnet-4-5").min_prefix_tokens == 1024


@pytest.mark.parametrize(
    ("model_id", "points", "hours"),
    [
        (CLAUDE, True, True),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", True, False),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", True, False),
        ("anthropic.claude-3-haiku-20240307-v1:0", False, False),
        ("anthropic.claude-opus-4-1-20250805-v1:0", True, False),
        ("global.anthropic.claude-opus-5", True, True),
        ("amazon.nova-lite-v1:0", True, False),
        ("meta.llama3-1-8b-instruct-v1:0", False, False),
        ("arn:aws:bedrock:eu-west-1:1:application-inference-profile/x", True, True),
    ],
)
def test_converse_gets_cache_points_where_the_model_has_them(model_id: str, *, points: bool, hours: bool) -> None:
    marked = conversation(
        message("system", [part("rules", cache_control=HOUR)]),
        message("user", [part("hi", cache_control=MARK)]),
        tools=[{**TOOL, "cache_control": HOUR}],
    )
    body = chat_body(ChatCall(model_id, marked, None, 1000))
    long = {"cachePoint": {"type": "default", **({"ttl": "1h"} if hours else {})}}
    is_nova = "nova" in model_id
    assert body["system"][1:] == ([long] if points else [])
    assert body["messages"][0]["content"][1:] == ([{"cachePoint": {"type": "default"}}] if points else [])
    assert body["toolConfig"]["tools"][1:] == ([long] if points and not is_nova else [])
    assert cache_support(config("bedrock"), model_id)[:2] == (points, hours)


POINT = {"cachePoint": {"type": "default"}}


def test_converse_gets_the_bridges_own_point_after_the_system_prompt_or_the_tools() -> None:
    with_both = conversation(message("system", "rules"), HI, tools=[TOOL])
    body = chat_body(ChatCall(CLAUDE, with_both, None, 1000, marks_prefix=True))
    assert (body["system"], len(body["toolConfig"]["tools"])) == ([{"text": "rules"}, POINT], 1)
    body = chat_body(ChatCall(CLAUDE, conversation(HI, tools=[TOOL]), None, 1000, marks_prefix=True))
    assert body["toolConfig"]["tools"][1:] == [POINT]
    assert "cachePoint" not in str(body["messages"])


@pytest.mark.parametrize(
    ("payload", "marked"),
    [
        ({"system": "rules", "tools": [{"name": "f"}]}, {"system": [part("rules", cache_control=MARK)]}),
        ({"system": [part("a"), part("b")]}, {"system": [part("a"), part("b", cache_control=MARK)]}),
        ({"system": [part("a"), part(" ")]}, {"system": [part("a", cache_control=MARK), part(" ")]}),
        ({"tools": [{"name": "f"}, {"name": "g"}]}, {"tools": [{"name": "f"}, {"name": "g", "cache_control": MARK}]}),
        (
            {"tools": [{"name": "f"}, {"name": "g", "defer_loading": True}]},
            {"tools": [{"name": "f", "cache_control": MARK}, {"name": "g", "defer_loading": True}]},
        ),
        ({"messages": []}, {}),
    ],
)
def test_a_request_to_anthropic_gets_one_mark_after_its_tools_and_system_prompt(
    payload: dict[str, Any], marked: dict[str, Any]
) -> None:
    assert with_marked_prefix(payload) == {**payload, **marked}


def openai_payload(call: ChatCall, kind: str = "openrouter", base_url: str | None = None) -> dict[str, Any]:
    return chat_payload(call, vendor_of(config(kind, base_url)))


def test_a_gateway_gets_the_bridges_own_mark_on_the_last_text_before_the_conversation() -> None:
    call = ChatCall(
        "anthropic/claude-sonnet-5", conversation(message("system", "a"), message("developer", "b"), HI), None, 1000
    )
    payload = openai_payload(call._replace(marks_prefix=True))
    assert payload["messages"] == [message("system", "a"), message("developer", [part("b", cache_control=MARK)]), HI]
    assert openai_payload(call)["messages"] == [message("system", "a"), message("developer", "b"), HI]
    assert openai_payload(ChatCall("m", conversation(HI), None, 1000, marks_prefix=True))["messages"] == [HI]


MARKED: dict[str, Any] = {
    "messages": [
        message("system", [part("rules", cache_control=MARK)]),
        message("assistant", None, tool_calls=[{"id": "c", **TOOL, "function": {"name": "f", "arguments": "{}"}}]),
        message("tool", "2", tool_call_id="c", cache_control=MARK),
    ],
    "tools": [{**TOOL, "cache_control": MARK}],
    "cache_control": MARK,
}


@pytest.mark.parametrize(
    ("kind", "base_url", "keeps"),
    [
        ("openrouter", None, True),
        ("litellm", "http://h:4000", True),
        ("openai", "http://h:8000/v1", True),
        ("openai", None, False),
        ("azure_openai", "https://r.openai.azure.com", False),
        ("gemini", None, False),
        ("openai", "https://api.groq.com/openai/v1", False),
    ],
)
def test_only_vendors_that_may_take_marks_get_the_callers(kind: str, base_url: str | None, *, keeps: bool) -> None:
    payload = openai_payload(ChatCall("m", conversation_of(MARKED), None, 1000), kind, base_url)
    sent = {name: payload[name] for name in MARKED if name in payload}
    if keeps:
        assert sent == MARKED
    else:
        assert "cache_control" not in str(sent)
        assert sent["messages"][0] == message("system", "rules")


def test_a_mark_of_a_result_in_anthropics_format_is_sent_on_its_text() -> None:
    result = Message(Role.TOOL, (Text("2"),), call_id="c", cache=CacheControl("1h"))
    call = ChatCall("m", Conversation((result,), wire_format=WireFormat.ANTHROPIC), None, 1000)
    (sent,) = openai_payload(call)["messages"]
    assert sent == message("tool", [part("2", cache_control=HOUR)], tool_call_id="c")


UNKNOWN = [
    "messages.0.content.0.cache_control: Extra inputs are not permitted",
    "Unknown parameter: 'messages[0].content[0].cache_control'.",
    "'messages.0' : for 'role:system' property 'cache_control' is unsupported",
    '[{"type":"extra_forbidden","loc":["body","messages",0,"cache_control"],"msg":"Extra inputs are not permitted"}]',
    "This model does not support cache_control.",
]
OF_THE_CALLER = [
    "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    "system.0: cache_control cannot be set for empty text blocks",
    "messages.1.content.0.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' one.",
]


@pytest.mark.parametrize(("text", "is_unknown"), [*((one, True) for one in UNKNOWN), *((one, False) for one in OF_THE_CALLER)])  # fmt: skip
def test_only_a_server_that_does_not_know_marks_is_asked_again_without(text: str, *, is_unknown: bool) -> None:
    failure = Failure(FailureKind.REQUEST_REJECTED, text)
    assert any(adaptation.may_avoid(failure) for adaptation in CACHE_ADAPTATIONS) is is_unknown


def test_marks_are_dropped_step_by_step_the_lifetime_first() -> None:
    failures = [
        Failure(FailureKind.REQUEST_REJECTED, text)
        for text in (
            "cache_control.ttl: Extra inputs are not permitted",
            "cache_control: Extra inputs are not permitted",
        )
    ]
    payload: dict[str, Any] = {"cache_control": HOUR, "messages": [message("user", [part("a", cache_control=HOUR)])]}
    ttl, _scopes, of_request, all_marks = CACHE_ADAPTATIONS
    assert ttl.may_avoid(failures[0])
    payload = ttl.change(payload) or {}
    assert payload == {"cache_control": MARK, "messages": [message("user", [part("a", cache_control=MARK)])]}
    assert (ttl.change(payload), of_request.may_avoid(failures[1])) == (None, True)
    payload = of_request.change(payload) or {}
    assert payload == {"messages": [message("user", [part("a", cache_control=MARK)])]}
    assert of_request.change(payload) is None
    assert all_marks.change(payload) == {"messages": [message("user", "a")]}


def test_data_of_the_caller_with_the_name_of_a_mark_is_left_alone() -> None:
    call = {
        "type": "tool_use",
        "id": "c",
        "name": "f",
        "input": {"cache_control": 1, "content": [{"cache_control": 2}]},
    }
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    tool = {"name": "f", "input_schema": schema}
    payload = {"messages": [message("assistant", [call])], "tools": [tool]}
    assert without_marks(payload) is None
    assert without_marks({**payload, "tools": [{**tool, "cache_control": MARK}]}) == payload


def test_a_tool_of_another_type_keeps_its_mark_where_marks_are_taken() -> None:
    kind = "web_search_20250305"
    tool = {"type": kind, "name": "web_search", "cache_control": MARK}
    asking = Conversation((Message(Role.USER, (Text("a"),)),), (OtherTool(kind, tool),))
    call = ChatCall("m", asking, None, 1000)
    assert openai_payload(call)["tools"] == [tool]
    assert "cache_control" not in str(openai_payload(call, "gemini")["tools"])


class Chat:
    """The chat function over one provider that marks prompts."""

    def __init__(self, fake: FakeProvider, kind: str, model: str, path: str, **fields: Any) -> None:
        self.fake, self.path = fake, path
        base_url = fake.url if kind == "anthropic" else f"{fake.url}/v1"
        section = provider("p", chat_model(model), provider_type=kind, base_url=base_url, **fields)
        settings = make_settings(section, routing={"prompt_cache": "auto"})
        self._function = Function("chat_completions", make_bridge(settings))

    def ask(self, **fields: Any) -> Mapping[str, Any]:
        """The body that the provider received last."""
        body = {"messages": [message("system", RULES), HI], **fields}
        answer = self._function("POST", PATH, body)
        assert (answer.status, answer.json()["bridge"]["notes"]) == (200, [])
        received: Mapping[str, Any] = self.fake.received[-1].body
        return received


AT = [
    ("anthropic", "claude-sonnet-4-5", "/v1/messages", {"type": "error", "error": {"type": "invalid_request_error"}}),
    ("openrouter", "anthropic/claude-sonnet-4.5", "/v1/chat/completions", {"error": {"code": 400}}),
    ("litellm", "claude-sonnet-4-5", "/v1/chat/completions", {"error": {"code": "400"}}),
]


@pytest.mark.parametrize(("kind", "model", "path", "refusal"), AT, ids=[row[0] for row in AT])
def test_a_server_that_does_not_know_the_bridges_mark_is_asked_again_without_and_never_again_with_it(
    fake: FakeProvider, kind: str, model: str, path: str, refusal: dict[str, Any]
) -> None:
    chat = Chat(fake, kind, model, path)
    body = {**refusal, "error": {**refusal["error"], "message": UNKNOWN[0]}}
    fake.script(path, Reply(400, body))
    sent = chat.ask()
    chat.ask()
    assert ["cache_control" in str(one.body) for one in fake.calls(path)] == [True, False, False]
    assert (sent.get("system") or sent["messages"][0]["content"]) == RULES


@pytest.mark.parametrize(("kind", "model", "path"), [row[:3] for row in AT], ids=[row[0] for row in AT])
def test_a_request_with_a_mark_of_its_own_is_sent_with_that_alone(
    fake: FakeProvider, kind: str, model: str, path: str
) -> None:
    chat = Chat(fake, kind, model, path)
    assert str(chat.ask()).count("cache_control") == 1
    assert str(chat.ask(messages=[message("system", RULES), message("user", [part("a", cache_control=MARK)])])).count("cache_control") == 1  # fmt: skip
    assert "cache_control" not in str(chat.ask(messages=[HI]))
