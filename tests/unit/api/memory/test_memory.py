"""Summaries, entities and scores: through the functions' own handlers, against providers over HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.api.memory.splitting import halves
from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.functions import Function, FunctionResponse
from tests.fakes.provider import FakeProvider, Received, Reply, chat_completion
from tests.fakes.settings import chat_model, make_settings, provider

CHAT = "/v1/chat/completions"
ENTITIES = {"people": ["Anna", " Anna ", ""], "organizations": ["Acme"], "technical_terms": [], "concepts": ["search"]}
SCORE = {"reasoning": "A decision was made.", "score": 7}


def function(name: str, *providers: dict[str, Any], **sections: Any) -> Function:
    return Function(name, make_bridge(make_settings(*providers, **sections)))


def one(fake: FakeProvider, **model: Any) -> dict[str, Any]:
    return provider("first", chat_model("gpt", **model), base_url=f"{fake.url}/v1", priority=1)


def says(fake: FakeProvider, *answers: object) -> None:
    texts = (answer if isinstance(answer, str) else json.dumps(answer) for answer in answers)
    fake.script(CHAT, *(Reply(body=chat_completion(text)) for text in texts))


def prompt_of(received: Received) -> str:
    return "\n".join(str(message["content"]) for message in received.body["messages"])


def error(answer: FunctionResponse) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    return found


@pytest.fixture
def other() -> Iterator[FakeProvider]:
    with FakeProvider(text="From the other.") as fake:
        yield fake


@pytest.mark.parametrize("path", ["/summarize", "/api/v1/summarize"])
def test_a_summary_has_the_fields_that_callers_of_v1_read(fake: FakeProvider, path: str) -> None:
    says(fake, "  They launch in May.\n")
    body = {"messages": ["Launch in May?", "Yes."], "level": "weekly", "model": None, "max_words": 50}
    answer = function("summarize", one(fake))("POST", path, body)
    assert answer.status == 200
    receipt = answer.json().pop("bridge")
    assert {name: value for name, value in answer.json().items() if name != "bridge"} == {
        "summary": "They launch in May.",
        "level": "weekly",
        "model": "gpt",
        "message_count": 2,
        "tokens_used": 18,
    }
    assert (receipt["provider_id"], receipt["cost"]) == ("first", 0.000025)
    assert answer.headers["x-bridge-model"] == "gpt"


def test_a_request_for_a_summary_has_all_messages_the_level_and_the_number_of_words(fake: FakeProvider) -> None:
    body = {"messages": ["Launch in May?", " ", "Yes."], "level": "monthly", "max_words": 77}
    assert function("summarize", one(fake))("POST", "/summarize", body).status == 200
    prompt = prompt_of(fake.received[0])
    assert "[1] Launch in May?\n\n[2] Yes." in prompt
    assert "at most 77 words" in prompt
    assert "main developments" in prompt


def test_a_single_message_is_sent_as_it_is_with_leave_to_follow_its_instructions(fake: FakeProvider) -> None:
    """The controller asks `/summarize` for labels, and splits the answer at its commas."""
    labels = "Suggest 3-5 relevant labels for this conversation.\n\nConversation content:\nuser: a flight to Paris"
    says(fake, "travel, Paris, flights")
    answer = function("summarize", one(fake))("POST", "/summarize", {"messages": [labels], "level": "daily"})
    assert answer.json()["summary"] == "travel, Paris, flights"
    system, user = fake.received[0].body["messages"]
    assert user["content"] == labels
    assert "asks for something else than a summary, such as labels" in system["content"]


@pytest.mark.parametrize("path", ["/extract", "/extract_entities", "/api/v1/extract"])
def test_entities_are_four_lists_each_text_once(fake: FakeProvider, path: str) -> None:
    says(fake, {**ENTITIES, "places": ["Rome"]})
    answer = function("extract", one(fake))("POST", path, {"text": "Anna of Acme searches."})
    assert answer.json()["entities"] == {
        "people": ["Anna"],
        "organizations": ["Acme"],
        "technical_terms": [],
        "concepts": ["search"],
    }
    assert (answer.json()["model"], answer.json()["tokens_used"]) == ("gpt", 18)
    assert fake.received[0].body["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("path", ["/score", "/score_importance", "/api/v1/score"])
@pytest.mark.parametrize("field", ["conversation", "message", "text"])
def test_a_score_is_a_number_with_a_reason(fake: FakeProvider, path: str, field: str) -> None:
    says(fake, SCORE)
    answer = function("score", one(fake))("POST", path, {field: "We decided.", "context": "a meeting", "model": None})
    assert (answer.json()["score"], answer.json()["reasoning"]) == (7, "A decision was made.")
    assert "Context: a meeting\n\nText: We decided." in prompt_of(fake.received[0])


def test_json_in_a_block_of_code_is_read(fake: FakeProvider) -> None:
    says(fake, f"```json\n{json.dumps(SCORE)}\n```")
    assert function("score", one(fake))("POST", "/score", {"text": "a"}).json()["score"] == 7


@pytest.mark.parametrize(
    ("unusable", "fault"),
    [
        ("7", "it is not a JSON object"),
        ("Score: 7/10", "it is not JSON"),
        ({"score": 11, "reasoning": "r"}, "`score` must be from 1 to 10"),
        ({"score": 0, "reasoning": "r"}, "`score` must be from 1 to 10"),
        ({"score": True, "reasoning": "r"}, "`score` must be a number"),
        ({"score": "7", "reasoning": "r"}, "`score` must be a number"),
        ({"score": 7, "reasoning": " "}, "`reasoning` must be a text"),
        ({"score": 7}, "`reasoning` must be a text"),
    ],
)
def test_an_unusable_score_is_asked_for_once_more_with_the_fault_and_then_is_an_error(
    fake: FakeProvider, unusable: object, fault: str
) -> None:
    score = function("score", one(fake))
    says(fake, unusable, SCORE)
    answer = score("POST", "/score", {"text": "We decided."})
    assert (answer.json()["score"], answer.json()["tokens_used"]) == (7, 36)
    assert len(answer.json()["bridge"]["attempts"]) == 2
    assert f"That answer cannot be used: {fault}" in prompt_of(fake.received[1])

    says(fake, unusable, unusable)
    answer = score("POST", "/score", {"text": "We decided."})
    assert (answer.status, error(answer)["code"]) == (502, "unusable_answer")
    assert fault in error(answer)["message"]
    assert error(answer)["cost"] == 0.00005
    assert len(fake.received) == 4


@pytest.mark.parametrize(
    "unusable", [{**ENTITIES, "people": "Anna"}, {"people": ["Anna"]}, {**ENTITIES, "concepts": [1]}]
)
def test_unusable_entities_are_never_completed(fake: FakeProvider, unusable: object) -> None:
    says(fake, unusable, unusable)
    answer = function("extract", one(fake))("POST", "/extract", {"text": "Anna"})
    assert (answer.status, error(answer)["code"]) == (502, "unusable_answer")


def ends(fake: FakeProvider, reason: str, content: str | None = "They", **message: Any) -> None:
    said = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": said, "finish_reason": reason}
    fake.script(CHAT, Reply(body={**chat_completion("x"), "choices": [choice]}))


@pytest.mark.parametrize(("reason", "fault"), [("length", "it was cut off"), ("recitation", "it is not complete")])
def test_a_summary_that_is_not_complete_is_not_used(fake: FakeProvider, reason: str, fault: str) -> None:
    ends(fake, reason)
    ends(fake, reason)
    answer = function("summarize", one(fake))("POST", "/summarize", {"messages": ["a"]})
    assert (answer.status, error(answer)["code"]) == (502, "unusable_answer")
    assert fault in error(answer)["message"]


@pytest.mark.parametrize(
    "refused", [{"reason": "content_filter"}, {"reason": "stop", "content": None, "refusal": "No."}]
)
def test_a_refusal_is_returned_at_once(fake: FakeProvider, refused: Any) -> None:
    ends(fake, **refused)
    answer = function("summarize", one(fake))("POST", "/summarize", {"messages": ["a"]})
    assert (answer.status, error(answer)["code"]) == (400, "content_refused")
    assert len(fake.received) == 1


def test_json_that_is_cut_off_gets_more_room_and_is_not_made_shorter(fake: FakeProvider) -> None:
    ends(fake, "length")
    says(fake, ENTITIES)
    assert function("extract", one(fake))("POST", "/extract", {"text": "Anna"}).status == 200
    first, second = (call.body for call in fake.received)
    assert (first["max_tokens"], second["max_tokens"]) == (1024, 2048)
    assert first["messages"] == second["messages"]


def test_a_second_try_that_does_not_fit_gives_the_fault_of_the_first(fake: FakeProvider) -> None:
    ends(fake, "length")
    answer = function("extract", one(fake, context_window=2048))("POST", "/extract", {"text": "Anna. " * 300})
    assert (answer.status, error(answer)["code"]) == (502, "unusable_answer")
    assert "it was cut off at its maximum length" in error(answer)["message"]


@pytest.mark.parametrize("text", ['{"people": ["\\ud800"]}', "[" * 200_000])
def test_json_that_cannot_be_sent_on_is_unusable(fake: FakeProvider, text: str) -> None:
    says(fake, text, text)
    answer = function("extract", one(fake))("POST", "/extract", {"text": "Anna"})
    assert (answer.status, error(answer)["code"]) == (502, "unusable_answer")


def test_a_large_number_of_words_leaves_room_for_the_text(fake: FakeProvider) -> None:
    body = {"messages": ["Hello there."], "max_words": 5000}
    assert function("summarize", one(fake))("POST", "/summarize", body).status == 200
    assert fake.received[0].body["max_tokens"] == 4096


def test_a_failing_provider_is_followed_by_the_next(fake: FakeProvider, other: FakeProvider) -> None:
    fake.always(CHAT, Reply(500, {}))
    second = provider("second", chat_model("llama"), base_url=f"{other.url}/v1", priority=2)
    answer = function("summarize", one(fake), second)("POST", "/summarize", {"messages": ["a"]})
    assert (answer.json()["summary"], answer.json()["model"]) == ("From the other.", "llama")


def test_a_model_without_json_schemas_is_asked_without(fake: FakeProvider) -> None:
    refused = {"error": {"message": "response_format json_schema is not supported by this model", "code": "x"}}
    fake.script(CHAT, Reply(400, refused))
    says(fake, SCORE)
    assert function("score", one(fake))("POST", "/score", {"text": "a"}).json()["score"] == 7
    assert "response_format" not in fake.received[-1].body


NO_SCHEMAS = {"error": {"message": "response_format json_schema is not supported by this model", "code": "x"}}


def test_a_model_without_json_schemas_is_asked_without_if_the_others_fail(
    fake: FakeProvider, other: FakeProvider
) -> None:
    fake.script(CHAT, Reply(400, NO_SCHEMAS))
    other.always(CHAT, Reply(500, {}))
    says(fake, SCORE)
    second = provider("second", chat_model("llama"), base_url=f"{other.url}/v1", priority=2)
    assert function("score", one(fake), second)("POST", "/score", {"text": "a"}).json()["score"] == 7


def test_a_free_model_without_json_schemas_is_asked_without_if_the_others_cost_too_much(
    fake: FakeProvider, other: FakeProvider
) -> None:
    fake.script(CHAT, Reply(400, NO_SCHEMAS))
    says(fake, SCORE)
    dear = provider("second", chat_model("dear", price=(999, 999)), base_url=f"{other.url}/v1", priority=2)
    answer = function("score", one(fake, price=(0, 0)), dear)("POST", "/score", {"text": "a", "max_cost": 0.001})
    assert answer.json()["score"] == 7


def test_the_cost_limit_holds_for_all_calls_of_a_request_together(fake: FakeProvider) -> None:
    says(fake, "no JSON", SCORE)
    answer = function("score", one(fake, price=(0, 100)))("POST", "/score", {"text": "a", "max_cost": 0.007})
    # The first answer costs 7 tokens at $100 for a million; what is left is not enough for 64 tokens more.
    assert (answer.status, error(answer)["code"]) == (402, "cost_limit_exceeded")
    assert error(answer)["cost"] == 0.0007
    assert "of $0.007, earlier calls of this request have used $0.0007" in error(answer)["message"]
    assert len(fake.received) == 1


@pytest.mark.parametrize(("section", "status"), [({}, 200), ({"max_cost_per_request": 1}, 402)])
def test_only_a_limit_that_the_file_sets_excludes_models_without_a_price(
    fake: FakeProvider, section: dict[str, Any], status: int
) -> None:
    """Also in the second call of a request."""
    says(fake, "no JSON", SCORE)
    answer = function("score", one(fake, price=None), routing=section)("POST", "/score", {"text": "a"})
    assert (answer.status, len(fake.received)) == (status, 2 if status == 200 else 0)


def test_a_rate_limit_after_a_billed_answer_is_not_to_be_retried(fake: FakeProvider) -> None:
    """A client that repeats the request would have the first answer billed again."""
    says(fake, "no JSON")
    fake.script(CHAT, Reply(429, {"error": {"message": "slow down"}}, headers={"retry-after": "1"}))
    answer = function("score", one(fake))("POST", "/score", {"text": "a"})
    assert (answer.status, answer.headers["retry-after"], answer.headers["x-should-retry"]) == (429, "1", "false")


LONG = [f"Message {number}: " + "the launch is planned. " * 30 for number in range(12)]


def test_a_text_beyond_the_context_window_is_summarized_in_parts(fake: FakeProvider) -> None:
    answer = function("summarize", one(fake, context_window=2048))(
        "POST", "/summarize", {"messages": LONG, "max_words": 60}
    )
    assert answer.status == 200, answer.text
    asked = [prompt_of(call) for call in fake.received]
    parts, last = asked[:-1], asked[-1]
    assert len(parts) >= 2
    assert all("You read one part of a long text" in part for part in parts)
    assert all(any(text in part for part in parts) for text in LONG)
    assert "You summarize conversations" in last
    assert last.count("Hello from the fake.") == len(parts)
    assert answer.json()["message_count"] == 12
    assert answer.json()["tokens_used"] == 18 * len(asked)


def test_a_single_text_beyond_the_context_window_is_split_inside(fake: FakeProvider) -> None:
    text = "".join(LONG)
    answer = function("summarize", one(fake, context_window=2048))(
        "POST", "/summarize", {"messages": [text], "max_words": 60}
    )
    assert answer.status == 200, answer.text
    assert "".join(call.body["messages"][1]["content"] for call in fake.received[:-1]) == text


def test_a_prompt_that_the_provider_finds_too_long_is_split_too(fake: FakeProvider) -> None:
    too_long = {"error": {"message": "maximum context length is 10 tokens", "code": "context_length_exceeded"}}
    fake.script(CHAT, Reply(400, too_long))
    answer = function("summarize", one(fake))("POST", "/summarize", {"messages": LONG[:2]})
    assert (answer.status, len(fake.received)) == (200, 4)


def test_a_free_model_reads_parts_where_the_model_with_the_window_costs_too_much(
    fake: FakeProvider, other: FakeProvider
) -> None:
    small = provider("local", chat_model("small", price=(0, 0), context_window=2048), base_url=f"{other.url}/v1")
    large = one(fake, price=(1000, 1000), context_window=100_000)
    answer = function("summarize", large, small)(
        "POST", "/summarize", {"messages": LONG, "max_cost": 0.01, "max_words": 60}
    )
    assert (answer.status, answer.json()["model"]) == (200, "small"), answer.text
    assert fake.received == []


def test_parts_are_read_by_a_small_model_where_the_large_one_fails(fake: FakeProvider, other: FakeProvider) -> None:
    other.always(CHAT, Reply(500, {}))
    large = provider("large", chat_model("large", context_window=100_000), base_url=f"{other.url}/v1", priority=1)
    small = provider("small", chat_model("small", context_window=2048), base_url=f"{fake.url}/v1", priority=2)
    answer = function("summarize", large, small)("POST", "/summarize", {"messages": LONG, "max_words": 60})
    assert (answer.status, answer.json()["model"]) == (200, "small"), answer.text


def test_notes_that_are_not_shorter_than_the_text_end_in_an_error(fake: FakeProvider) -> None:
    fake.always(CHAT, Reply(body=chat_completion("word " * 3000)))
    answer = function("summarize", one(fake, context_window=2048))(
        "POST", "/summarize", {"messages": LONG, "max_words": 60}
    )
    assert (answer.status, error(answer)["code"]) == (502, "unusable_answer")


def test_a_text_that_is_too_long_to_extract_from_names_the_field(fake: FakeProvider) -> None:
    answer = function("extract", one(fake, context_window=1100))("POST", "/extract", {"text": "".join(LONG)})
    assert (answer.status, error(answer)["code"], error(answer)["param"]) == (400, "context_length_exceeded", "text")
    assert error(answer)["message"].startswith("text is too long: this model's maximum context length is 1100 tokens")


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("summarize", {}, "messages"),
        ("summarize", {"messages": []}, "messages"),
        ("summarize", {"messages": [" ", ""]}, "messages"),
        ("summarize", {"messages": ["a", 1]}, "messages[1]"),
        ("summarize", {"messages": "a"}, "messages"),
        ("summarize", {"messages": ["a"], "level": "yearly"}, "level"),
        ("summarize", {"messages": ["a"], "max_words": 0}, "max_words"),
        ("summarize", {"messages": ["a"], "max_cost": -1}, "max_cost"),
        ("summarize", {"messages": ["a"], "max_costs": 1}, "max_costs"),
        ("summarize", {"messages": ["a"], "model": "ghost"}, "model"),
        ("extract", {"text": ""}, "text"),
        ("extract", {"text": " \n"}, "text"),
        ("score", {"message": " "}, "message"),
        ("extract", {"text": None}, "text"),
        ("score", {}, None),
        ("score", {"text": "a", "message": "b"}, None),
        ("score", {"text": ""}, "text"),
    ],
)
def test_an_invalid_request_names_its_field(fake: FakeProvider, name: str, body: Any, param: str | None) -> None:
    answer = function(name, one(fake))("POST", f"/{name}", body)
    assert answer.status in {400, 404}
    assert error(answer)["param"] == param
    assert fake.received == []


def test_unknown_fields_of_old_callers_are_ignored(fake: FakeProvider) -> None:
    body = {"messages": ["a"], "conversation_id": "c", "temperature": 9}
    assert function("summarize", one(fake))("POST", "/summarize", body).status == 200
    assert "conversation_id" not in fake.received[0].body


@given(st.lists(st.text(max_size=300), min_size=1, max_size=8))
def test_the_halves_of_texts_are_the_texts(texts: list[str]) -> None:
    parts = halves(texts)
    if parts is None:
        assert sum(map(len, texts)) < 400
        return
    first, second = parts
    assert "".join([*first, *second]) == "".join(texts)
    assert "".join(first)
    assert "".join(second)
