"""Limits of Messages requests that a model refuses: what its words say of the limit that it takes."""

import pytest

from sekha_llm_bridge.conversation import Conversation, Message, Role, Text, WireFormat
from sekha_llm_bridge.errors import Failure, FailureKind
from sekha_llm_bridge.providers.output_caps import limit_adaptations, named_limit

TOO_LONG = FailureKind.CONTEXT_LENGTH_EXCEEDED


def conversation(wire_format: WireFormat = WireFormat.ANTHROPIC) -> Conversation:
    return Conversation((Message(Role.USER, (Text("Hi"),)),), wire_format=wire_format)


def failure(text: str, kind: FailureKind = FailureKind.REQUEST_REJECTED) -> Failure:
    return Failure(kind, "the provider answered 400", provider_text=text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("max_tokens: 32000 > 8192, which is the maximum allowed for claude-3-5-sonnet-20241022", 8192),
        ("the valid range of max_tokens is [1, 8192]", 8192),
        ("`max_tokens` must be less than or equal to `8192`", 8192),
        ("max_tokens must be at most 65536", None),  # above what was sent: something else is wrong
        ("max_tokens is not supported by gpt-4o-2024", None),
        ("max_tokens must be at least 16", None),
    ],
)
def test_the_limit_is_the_highest_number_below_the_one_that_was_sent(text: str, limit: int | None) -> None:
    assert named_limit(32_000, failure(text)) == limit


@pytest.mark.parametrize(
    ("text", "room"),
    [
        (
            (
                "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens"
                " (1000 in the messages, 8000 in the completion)."
            ),
            7192,
        ),
        ("input length and `max_tokens` exceed context limit: 180000 + 32000 > 200000, decrease them", 20_000),
        (
            (
                "This model's maximum context length is 32768 tokens. However, you requested 32000 output tokens and your "
                "prompt contains at least 769 input tokens, for a total of at least 32769 tokens."
            ),
            15_999,
        ),
        (
            (
                "Requested token count exceeds the model's maximum context length of 32768 tokens. You requested a total "
                "of 40000 tokens: 8000 tokens from the input messages and 32000 tokens for the completion."
            ),
            24_768,
        ),
        (
            (
                "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens (8000 "
                "of text input, 32000 in the output)."
            ),
            24_768,
        ),
        (
            (
                "`inputs` tokens + `max_new_tokens` must be <= 32768. Given: 8000 `inputs` tokens and 32000 "
                "`max_new_tokens`"
            ),
            24_768,
        ),
        ("exceed context limit: 199500 + 32000 > 200000", None),  # less room is no answer
        ("prompt is too long: 205000 tokens > 200000 maximum", None),
        ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.", None),
    ],
)
def test_a_prompt_that_fits_without_the_limit_is_sent_with_the_room_that_it_leaves(text: str, room: int | None) -> None:
    payload = {"max_tokens": 32_000}
    rejection = failure(text, TOO_LONG)
    forms = [one for one in limit_adaptations(conversation(), "max_tokens") if one.may_avoid(rejection)]
    assert [one.changed(payload, rejection) for one in forms] == [None if room is None else {"max_tokens": room}]


@pytest.mark.parametrize("wire_format", [one for one in WireFormat if one is not WireFormat.ANTHROPIC])
def test_a_limit_that_a_client_need_not_send_is_not_changed(wire_format: WireFormat) -> None:
    assert limit_adaptations(conversation(wire_format), "max_tokens") == ()


def test_a_form_that_depends_on_the_rejection_is_not_remembered() -> None:
    rejection = failure("max_tokens: 32000 > 8192")
    assert not any(one.is_needed_again(rejection) for one in limit_adaptations(conversation(), "max_tokens"))
