"""Translation of messages to Anthropic's. Every body is compared with the types of Anthropic's own client."""

from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from sekha_llm_bridge.conversation import (
    Audio,
    Block,
    CacheControl,
    Conversation,
    Document,
    Image,
    Media,
    Message,
    OtherBlock,
    Reasoning,
    ReasoningKind,
    Refusal,
    Role,
    Text,
    ToolCall,
)
from sekha_llm_bridge.errors import FailureKind
from sekha_llm_bridge.providers.anthropic.request import betas_of, chat_payload
from sekha_llm_bridge.providers.calls import ChatCall
from tests.fakes.anthropic_types import faults
from tests.fakes.failures import raises_failure

SIGNED = Reasoning("hm", ReasoningKind.ANTHROPIC, signature="sig")
MARK = CacheControl("1h")
WIRE_MARK = {"type": "ephemeral", "ttl": "1h"}


def say(role: Role, *blocks: Block | str, **fields: Any) -> Message:
    return Message(role, tuple(Text(block) if isinstance(block, str) else block for block in blocks), **fields)


def user(*blocks: Block | str, **fields: Any) -> Message:
    return say(Role.USER, *blocks, **fields)


def assistant(*blocks: Block | str, **fields: Any) -> Message:
    return say(Role.ASSISTANT, *blocks, **fields)


def system(*blocks: Block | str, **fields: Any) -> Message:
    return say(Role.SYSTEM, *blocks, **fields)


def result(call_id: str | None, *blocks: Block | str, **fields: Any) -> Message:
    return say(Role.TOOL, *blocks, call_id=call_id, **fields)


def payload_of(*messages: Message) -> dict[str, Any]:
    payload = chat_payload(ChatCall("claude-opus-4-6", Conversation(messages), None, 1000))
    assert list(faults(payload, MessageCreateParamsNonStreaming)) == []
    return payload


def turns_of(*messages: Message) -> list[tuple[str, list[Any]]]:
    return [(message["role"], message["content"]) for message in payload_of(*messages)["messages"]]


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def test_system_and_developer_messages_at_the_beginning_are_the_system_prompt() -> None:
    payload = payload_of(system("Be brief."), say(Role.DEVELOPER, "Be kind."), user("hi"))
    assert payload["system"] == "Be brief.\n\nBe kind."
    assert payload["messages"] == [{"role": "user", "content": [text("hi")]}]


def test_the_system_prompt_is_blocks_where_it_has_a_cache_mark() -> None:
    payload = payload_of(system("long", cache=MARK), system("short"), user("hi"))
    assert payload["system"] == [text("long", cache_control=WIRE_MARK), text("short")]


def test_a_later_system_message_keeps_its_place() -> None:
    turns = turns_of(user("a"), assistant("b"), system("Now in French."), user("c"))
    tagged = text("<system_message>\nNow in French.\n</system_message>")
    assert turns[2] == ("user", [tagged, text("c")])
    assert "system" not in payload_of(user("a"), assistant("b"), system("x"), user("c"))


def test_a_conversation_of_system_messages_alone_is_the_users() -> None:
    payload = payload_of(system("Say hi."))
    assert payload["messages"] == [{"role": "user", "content": [text("Say hi.")]}]
    assert "system" not in payload


def test_consecutive_messages_of_one_role_become_one() -> None:
    turns = turns_of(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    assert turns == [("user", [text("a"), text("b")]), ("assistant", [text("c"), text("d")]), ("user", [text("e")])]


def test_a_conversation_that_the_assistant_begins_gets_a_user_message_before_it() -> None:
    turns = turns_of(assistant("Welcome."), user("hi"))
    assert [role for role, _ in turns] == ["user", "assistant", "user"]
    assert turns[1][1] == [text("Welcome.")]


def test_results_of_parallel_calls_are_in_one_message_and_before_its_text() -> None:
    calls = assistant(ToolCall("c1", "f", "{}"), ToolCall("c2", "g", '{"x": 1}'))
    turns = turns_of(user("go"), calls, result("c1", "1"), system("note"), result("c2", "2", is_error=True), user("?"))
    assert [block["type"] for block in turns[2][1]] == ["tool_result", "tool_result", "text", "text"]
    assert turns[2][1][0] == {"type": "tool_result", "tool_use_id": "c1", "content": [text("1")]}
    assert turns[2][1][1]["is_error"] is True
    assert len(turns) == 3


def test_a_result_may_have_an_image_or_nothing() -> None:
    calls = assistant(ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}"))
    image = Image(Media("image/png", data="iVBORw0"))
    turns = turns_of(user("go"), calls, result("c1", "see", image), result("c2", ""))
    assert turns[2][1][0]["content"][1]["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0"}
    assert turns[2][1][1] == {"type": "tool_result", "tool_use_id": "c2"}


def test_a_cache_mark_inside_a_result_becomes_the_mark_of_the_result() -> None:
    calls = assistant(ToolCall("c1", "f", "{}"))
    turns = turns_of(user("go"), calls, result("c1", Text("big", cache=MARK)))
    expected = {"type": "tool_result", "tool_use_id": "c1", "content": [text("big")], "cache_control": WIRE_MARK}
    assert turns[2][1] == [expected]


def test_assistant_blocks_keep_their_order_and_reasoning_its_signature() -> None:
    redacted = Reasoning("", ReasoningKind.ANTHROPIC, encrypted="ZGF0YQ==")
    blocks = (SIGNED, redacted, Text("I look."), ToolCall("c1", "f", '{"x": [1]}'))
    turns = turns_of(user("go"), assistant(*blocks), result("c1", "1"))
    assert turns[1][1] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        text("I look."),
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": [1]}},
    ]


def test_hidden_reasoning_is_sent_back_with_its_signature() -> None:
    turns = turns_of(user("a"), assistant(SIGNED._replace(text=""), "b"), user("c"))
    assert turns[1][1][0] == {"type": "thinking", "thinking": "", "signature": "sig"}


@pytest.mark.parametrize(
    "reasoning",
    [
        Reasoning("hm"),
        Reasoning("hm", ReasoningKind.ANTHROPIC),
        Reasoning("hm", ReasoningKind.GEMINI, signature="x"),
        Reasoning("", ReasoningKind.OPENAI, encrypted="x"),
    ],
)
def test_reasoning_that_anthropic_cannot_read_is_left_out(reasoning: Reasoning) -> None:
    assert turns_of(user("a"), assistant(reasoning, "b"), user("c"))[1] == ("assistant", [text("b")])


def test_ids_of_calls_that_anthropic_does_not_take_are_mapped_in_the_same_way_in_call_and_result() -> None:
    calls = assistant(ToolCall("fc:1/a", "f", "{}"), ToolCall("functions.g:0", "g", "{}"), ToolCall("ok_1", "g", "{}"))
    turns = turns_of(user("go"), calls, result("functions.g:0", "2"), result("fc:1/a", "1"), result("ok_1", "3"))
    made = [block["id"] for block in turns[1][1]]
    assert [block["tool_use_id"] for block in turns[2][1]] == [made[1], made[0], "ok_1"]
    assert len(set(made)) == 3
    assert all(one.replace("_", "").isalnum() for one in made)


def test_calls_without_ids_belong_to_the_results_without_ids_in_their_order() -> None:
    calls = assistant(ToolCall(None, "f", "{}"), ToolCall(None, "g", "{}"))
    turns = turns_of(user("go"), calls, result(None, "1"), result(None, "2"))
    assert [block["id"] for block in turns[1][1]] == [block["tool_use_id"] for block in turns[2][1]]
    assert len({block["id"] for block in turns[1][1]}) == 2


def test_calls_of_an_earlier_id_get_another_one_that_their_results_have_too() -> None:
    turn = assistant(ToolCall("call_0", "f", "{}"), ToolCall("call_0", "f", "{}"))
    answers = result("call_0", "1"), result("call_0", "2")
    turns = turns_of(user("x"), turn, *answers, turn, *answers)
    ids = [block["id"] for n in (1, 3) for block in turns[n][1]]
    assert ids[0] == "call_0"
    assert len(set(ids)) == 4
    assert [block["tool_use_id"] for n in (2, 4) for block in turns[n][1]] == ids


@pytest.mark.parametrize("arguments", ["not json", "[1]", '"text"', "null"])
def test_arguments_that_are_no_object_are_the_callers_fault(arguments: str) -> None:
    with raises_failure(FailureKind.REQUEST_REJECTED):
        payload_of(user("go"), assistant(ToolCall("c", "f", arguments)))


@pytest.mark.parametrize("arguments", ["", " ", "{}"])
def test_a_call_without_arguments_has_an_empty_input(arguments: str) -> None:
    turns = turns_of(user("go"), assistant(ToolCall("c", "f", arguments)), result("c", "1"))
    assert turns[1][1][0]["input"] == {}


def test_texts_without_a_visible_character_are_left_out() -> None:
    turns = turns_of(user("a", "", " \n"), assistant(""), user("b"))
    assert turns == [("user", [text("a"), text("b")])]


def test_a_prompt_without_any_content_is_the_callers_fault() -> None:
    with raises_failure(FailureKind.REQUEST_REJECTED, match="no content"):
        payload_of(system(" "), user(""))


def test_whitespace_at_the_end_of_a_prefill_is_removed_and_only_there() -> None:
    turns = turns_of(user("a "), assistant("b "), user("c "), assistant("The answer is: \n"))
    assert [content[0]["text"] for _, content in turns] == ["a ", "b ", "c ", "The answer is:"]


def test_refusals_in_the_history_are_texts() -> None:
    assert turns_of(user("a"), assistant(Refusal("No.")), user("b"))[1] == ("assistant", [text("No.")])


def test_citations_of_anthropic_are_sent_back_and_those_of_others_are_not() -> None:
    own = {
        "type": "page_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": None,
        "start_page_number": 1,
        "end_page_number": 2,
    }
    cited = Text("so", citations=(own, {"type": "url_citation", "url": "http://x"}))
    assert turns_of(user("a"), assistant(cited), user("b"))[1][1] == [text("so", citations=[own])]


@pytest.mark.parametrize(
    ("media", "source"),
    [
        (Media(url="https://x/y.png"), {"type": "url", "url": "https://x/y.png"}),
        (Media("image/jpg", data="AA"), {"type": "base64", "media_type": "image/jpeg", "data": "AA"}),
        (Media(file_id="file_1"), {"type": "file", "file_id": "file_1"}),
    ],
)
def test_images_are_sent_by_url_by_base64_or_by_id(media: Media, source: dict[str, str]) -> None:
    turns = turns_of(user("?", Image(media, cache=CacheControl())))
    assert turns[0][1][1] == {"type": "image", "source": source, "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("media", "source"),
    [
        (Media(url="https://x/y.pdf"), {"type": "url", "url": "https://x/y.pdf"}),
        (Media("application/pdf", data="JVBE"), {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}),
        (Media(data="JVBE"), {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}),
        (Media(text="plain"), {"type": "text", "media_type": "text/plain", "data": "plain"}),
        (Media("text/csv; charset=utf-8", data="YSxi"), {"type": "text", "media_type": "text/plain", "data": "a,b"}),
        (Media(file_id="file_1"), {"type": "file", "file_id": "file_1"}),
    ],
)
def test_documents_are_sent_with_their_options(media: Media, source: dict[str, str]) -> None:
    document = Document(media, name="a.pdf", context="from 2020", wants_citations=True)
    turns = turns_of(user(document, "?"))
    options = {"title": "a.pdf", "context": "from 2020", "citations": {"enabled": True}}
    assert turns[0][1][0] == {"type": "document", "source": source, **options}


def test_a_file_by_id_needs_a_beta_feature_also_inside_a_result() -> None:
    document = Document(Media(file_id="file_1"))
    assert betas_of(payload_of(user(document))) == ["files-api-2025-04-14"]
    calls = assistant(ToolCall("c", "f", "{}"))
    assert betas_of(payload_of(user("a"), calls, result("c", document))) == ["files-api-2025-04-14"]
    assert betas_of(payload_of(user("a"))) == []


@pytest.mark.parametrize(
    "block",
    [
        Audio("AA", "wav"),
        OtherBlock("video_url", {"type": "video_url"}),
        Document(Media("application/msword", data="AA")),
    ],
)
def test_content_that_anthropic_does_not_have_excludes_the_candidate(block: Block) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        payload_of(user("?", block))


def test_blocks_of_anthropics_own_tools_are_sent_back_as_they_came() -> None:
    block = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    turns = turns_of(user("a"), assistant(OtherBlock("server_tool_use", block), "b"), user("c"))
    assert turns[1][1] == [block, text("b")]


def test_the_cache_mark_of_a_message_is_that_of_its_last_block_but_never_of_reasoning() -> None:
    turns = turns_of(user("a", "b", cache=MARK), assistant("c", SIGNED, cache=MARK), user("d"))
    assert turns[0][1] == [text("a"), text("b", cache_control=WIRE_MARK)]
    assert turns[1][1][0] == text("c", cache_control=WIRE_MARK)


def test_legacy_function_messages_are_the_callers_fault() -> None:
    with raises_failure(FailureKind.REQUEST_REJECTED):
        payload_of(user("a"), say(Role.FUNCTION, "1", name="f"))
