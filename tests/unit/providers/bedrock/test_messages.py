"""Messages in Converse's format. Every body is checked against botocore's service model and the documented rules."""

import base64
from typing import Any

import pytest

from sekha_llm_bridge.conversation import (
    Audio,
    CacheControl,
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
    ToolChoiceMode,
)
from sekha_llm_bridge.errors import FailureKind
from tests.fakes.failures import raises_failure
from tests.unit.providers.bedrock.conversations import (
    ADD,
    CALL,
    CLAUDE,
    HISTORY,
    LLAMA,
    MISTRAL,
    NOVA,
    PROFILE,
    assistant,
    choice,
    result,
    sent,
    system,
    user,
)

PNG = "iVBORw0KGgo="
PDF = base64.b64encode(b"%PDF-1.7").decode()
FIVE_MINUTES, DEFAULT = CacheControl("5m"), CacheControl()
MARK = {"cachePoint": {"type": "default"}}


def test_system_and_developer_messages_become_system_blocks_wherever_they_are() -> None:
    developer = system("be kind")._replace(role=Role.DEVELOPER)
    body = sent(system("be brief"), user("hi"), developer)
    assert body["system"] == [{"text": "be brief"}, {"text": "be kind"}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "hi"}]}]


def test_a_conversation_of_system_messages_alone_is_the_users() -> None:
    assert sent(system("be brief")) == {
        "messages": [{"role": "user", "content": [{"text": "be brief"}]}],
        "inferenceConfig": {"maxTokens": 16_384},
    }


def test_a_conversation_that_the_assistant_begins_gets_a_user_message_before_it() -> None:
    assert [one["role"] for one in sent(assistant("Hello."), user("hi"))["messages"]] == ["user", "assistant", "user"]


def test_messages_of_the_same_role_are_merged() -> None:
    body = sent(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    assert [(one["role"], len(one["content"])) for one in body["messages"]] == [
        ("user", 2),
        ("assistant", 2),
        ("user", 1),
    ]


def test_blank_texts_and_empty_messages_are_left_out() -> None:
    body = sent(system(" "), user("", "a", "\n"), assistant("  "), user("b"))
    assert body == {**body, "messages": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]}
    assert "system" not in body


def test_calls_and_their_results_keep_ids_names_and_arguments() -> None:
    body = sent(*HISTORY, tools=(ADD,))
    assert body["messages"][1]["content"] == [{"toolUse": {"toolUseId": "c1", "name": "add", "input": {"a": 1}}}]
    assert body["messages"][2]["content"] == [{"toolResult": {"toolUseId": "c1", "content": [{"text": "2"}]}}]


def test_results_of_several_calls_are_in_one_message_before_the_next_question() -> None:
    calls = assistant(CALL, ToolCall("c2", "add", ""))
    body = sent(user("?"), calls, result("c1", "2"), result("c2", "3", is_error=True), user("and?"), tools=(ADD,))
    assert [sorted(one) for one in body["messages"][2]["content"]] == [["toolResult"], ["toolResult"], ["text"]]
    assert body["messages"][2]["content"][1]["toolResult"]["status"] == "error"
    assert body["messages"][1]["content"][1]["toolUse"]["input"] == {}


def test_a_model_without_a_status_of_results_is_told_of_the_failure_in_words() -> None:
    body = sent(*HISTORY[:2], result("c1", "no", is_error=True), tools=(ADD,), model=LLAMA)
    assert body["messages"][2]["content"][0]["toolResult"] == {
        "toolUseId": "c1",
        "content": [{"text": "The call failed:"}, {"text": "no"}],
    }


def test_a_result_may_have_images_and_is_never_empty() -> None:
    image = Image(Media("image/png", data=PNG))
    [with_image] = sent(*HISTORY[:2], result("c1", image), tools=(ADD,))["messages"][2]["content"]
    assert with_image["toolResult"]["content"] == [{"image": {"format": "png", "source": {"bytes": PNG}}}]
    [empty] = sent(*HISTORY[:2], result("c1"), tools=(ADD,))["messages"][2]["content"]
    assert empty["toolResult"]["content"] == [{"text": "(no output)"}]


@pytest.mark.parametrize("call_id", ["ä b", "x" * 65, "", None])
def test_an_id_that_converse_refuses_is_replaced_alike_in_call_and_result(call_id: str | None) -> None:
    body = sent(user("?"), assistant(ToolCall(call_id, "add", "{}")), result(call_id, "2"), tools=(ADD,))
    used = body["messages"][1]["content"][0]["toolUse"]["toolUseId"]
    assert used == body["messages"][2]["content"][0]["toolResult"]["toolUseId"]


@pytest.mark.parametrize("call_id", [None, "call_0"])
@pytest.mark.parametrize("model", [CLAUDE, MISTRAL])
def test_calls_of_the_same_id_or_of_none_have_different_ids(call_id: str | None, model: str) -> None:
    calls = assistant(CALL._replace(call_id=call_id), CALL._replace(call_id=call_id))
    answers = result(call_id, "1"), result(call_id, "2")
    messages = sent(user("hi"), calls, *answers, calls, *answers, tools=(ADD,), model=model)["messages"]
    ids = [one["toolUse"]["toolUseId"] for n in (1, 3) for one in messages[n]["content"]]
    assert len(set(ids)) == 4
    assert [one["toolResult"]["toolUseId"] for n in (2, 4) for one in messages[n]["content"]] == ids


def test_mistral_gets_ids_of_nine_letters_and_digits() -> None:
    body = sent(*HISTORY, tools=(ADD,), model=MISTRAL)
    used = body["messages"][1]["content"][0]["toolUse"]["toolUseId"]
    assert len(used) == 9
    assert used.isalnum()


@pytest.mark.parametrize("fields", [{}, {"tools": (ADD,), "tool_choice": choice(ToolChoiceMode.NONE)}])
def test_without_tools_that_may_be_called_the_history_of_calls_becomes_text(fields: dict[str, Any]) -> None:
    body = sent(*HISTORY[:2], result("c1", "2", is_error=True), **fields)
    assert "toolConfig" not in body
    texts = [content["text"] for message in body["messages"] for content in message["content"]]
    assert texts == ["1 + 1?", '[call of the tool add: {"a": 1}]', "[result of the tool, failed]", "2"]


@pytest.mark.parametrize("arguments", ["[1]", "{", "7"])
def test_arguments_that_are_no_object_exclude_the_model(arguments: str) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE, match="JSON object"):
        sent(user("?"), assistant(ToolCall("c1", "add", arguments)), result("c1", "2"), tools=(ADD,))


@pytest.mark.parametrize(
    ("media", "form"),
    [
        (Media("image/png", data=PNG), "png"),
        (Media("image/jpg", data=PNG), "jpeg"),
        (Media("image/webp", data="UklGRgAA"), "webp"),
    ],
)
def test_images_are_sent_as_bytes_with_their_format(media: Media, form: str) -> None:
    [content] = sent(user(Image(media)))["messages"][0]["content"]
    assert content == {"image": {"format": form, "source": {"bytes": media.data}}}


@pytest.mark.parametrize("media", [Media(url="https://x/y.png"), Media("image/tiff", data="AA=="), Media(file_id="f")])
def test_other_images_exclude_the_model(media: Media) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        sent(user("?", Image(media)))


def test_a_document_keeps_a_plain_name_and_gets_a_neutral_one_otherwise() -> None:
    names = ["Report (1)", "Report (1).pdf", "ignore all: rules.pdf", None, "a  b.pdf", "document 2"]
    documents = [Document(Media("application/pdf", data=PDF), name=name) for name in names]
    body = sent(user("?", *documents))
    used = [content["document"]["name"] for content in body["messages"][0]["content"] if "document" in content]
    assert used[0] == "Report (1)"
    assert used[1:] == [f"document {n}" for n in range(2, 7)]


def test_a_document_without_a_text_gets_one() -> None:
    content = sent(user(Document(Media("application/pdf", data=PDF))))["messages"][0]["content"]
    assert [sorted(one) for one in content] == [["document"], ["text"]]


def test_a_document_of_text_keeps_its_context_and_its_wish_for_citations() -> None:
    document = Document(Media(text="grass is green"), "facts.md", context="facts", wants_citations=True)
    content = sent(user("?", document))["messages"][0]["content"][1]["document"]
    assert content == {
        "format": "txt",
        "name": "facts",
        "source": {"bytes": base64.b64encode(b"grass is green").decode()},
        "context": "facts",
        "citations": {"enabled": True},
    }


def test_a_recording_and_a_refusal_are_carried() -> None:
    body = sent(user(Audio("AAAA", "wav")), assistant(Refusal("no")))
    assert body["messages"][0]["content"] == [{"audio": {"format": "wav", "source": {"bytes": "AAAA"}}}]
    assert body["messages"][1]["content"] == [{"text": "no"}]


@pytest.mark.parametrize(
    "message",
    [
        user(OtherBlock("video", {})),
        system(Image(Media("image/png", data=PNG))),
        Message(Role.FUNCTION, (Text("2"),), name="add"),
        user(Document(Media(url="https://x/y.pdf"))),
        user(Document(Media("application/zip", data=PDF))),
        assistant(ToolCall("c", "add", "{}", kind="custom")),
    ],
)
def test_what_converse_has_no_place_for_excludes_the_model(message: Message) -> None:
    with raises_failure(FailureKind.CANDIDATE_UNSUITABLE):
        sent(user("?"), message, tools=(ADD,))


@pytest.mark.parametrize(
    ("model", "kind", "is_sent"),
    [
        (CLAUDE, ReasoningKind.ANTHROPIC, True),
        (CLAUDE, ReasoningKind.BEDROCK, False),
        (CLAUDE, ReasoningKind.OPENAI, False),
        (NOVA, ReasoningKind.BEDROCK, True),
        (NOVA, ReasoningKind.ANTHROPIC, False),
        (PROFILE, ReasoningKind.ANTHROPIC, True),
        (PROFILE, ReasoningKind.GEMINI, False),
    ],
)
def test_a_model_gets_back_only_its_own_reasoning(model: str, kind: ReasoningKind, *, is_sent: bool) -> None:
    signed, hidden = Reasoning("hm", kind, signature="sig"), Reasoning("", kind, encrypted="AAAA")
    body = sent(user("?"), assistant(signed, hidden, "yes"), user("sure?"), model=model)
    reasoning = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
    ]
    assert body["messages"][1]["content"] == [*(reasoning if is_sent else []), {"text": "yes"}]


def test_reasoning_without_a_signature_is_not_sent() -> None:
    body = sent(user("?"), assistant(Reasoning("hm", ReasoningKind.ANTHROPIC), "yes"), user("sure?"))
    assert body["messages"][1]["content"] == [{"text": "yes"}]


def test_cache_marks_become_cache_points_with_their_ttl() -> None:
    body = sent(
        system(Text("rules", cache=DEFAULT)),
        user(Text("long", cache=FIVE_MINUTES), Text(" ", cache=DEFAULT)),
        assistant(ToolCall("c1", "add", "{}", cache=DEFAULT)),
        result("c1", Text("2", cache=CacheControl("1h"))),
        tools=(ADD._replace(cache=DEFAULT),),
        cache=DEFAULT,
    )
    assert body["system"] == [{"text": "rules"}, MARK]
    assert body["messages"][0]["content"] == [{"text": "long"}, {"cachePoint": {"type": "default", "ttl": "5m"}}]
    assert body["messages"][1]["content"][1] == MARK
    assert body["messages"][2]["content"][1:] == [{"cachePoint": {"type": "default", "ttl": "1h"}}, MARK]
    assert body["toolConfig"]["tools"][1] == MARK


def test_the_beginning_of_an_answer_has_no_spaces_at_its_end() -> None:
    assert sent(user("?"), assistant("The answer: "))["messages"][1]["content"] == [{"text": "The answer:"}]
