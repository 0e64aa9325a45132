"""Each difference between llama.cpp's answers and the bridge's, with its reason. What is not listed is a fault."""

from collections.abc import Collection
from typing import Any, NamedTuple

from tests.integration.llama_cpp.differences import ABSENT, Difference
from tests.integration.llama_cpp.sides import PROVIDER_TYPES, Ask

ANY = ...
_OPENAI, _ANTHROPIC = ("openai",), ("anthropic",)
_SCHEMA = "a JSON schema"
_CUT_CALL = "a call that the limit cuts off"


class Row(NamedTuple):
    """Differences with one reason. `ends` are their paths, or ends of them; `over` are the formats of the provider that
    have them, `case` the only case that has them.
    """

    api: str
    ends: Collection[str]
    own: Any
    bridge: Any
    reason: str
    over: Collection[str] = PROVIDER_TYPES
    case: str | None = None

    def matches(self, ask: Ask, found: Difference) -> bool:
        return (
            self.api == ask.api
            and ask.provider_type in self.over
            and self.case in {None, ask.case.name}
            and any(f".{found.where}".endswith(f".{end}") for end in self.ends)
            and all(
                listed is ANY or listed == value
                for listed, value in ((self.own, found.own), (self.bridge, found.bridge))
            )
        )


ROWS = (
    Row("messages", ["bridge"], ABSENT, ANY, "the receipt, which llama.cpp has not"),
    Row("messages", ["content.citations", "content_block.citations"], ABSENT, None, "Anthropic sends it", _OPENAI),
    Row(
        "messages",
        ["content_block.input"],
        ABSENT,
        {},
        "Anthropic's types require it; llama.cpp begins a call without it",
    ),
    Row(
        "messages",
        ["usage.cache_creation", "usage.cache_creation_input_tokens"],
        ABSENT,
        ANY,
        "Anthropic sends them; a provider of OpenAI's format counts written tokens elsewhere, or not",
        _OPENAI,
    ),
    Row(
        "messages",
        ["message_delta.usage.input_tokens", "message_delta.usage.cache_read_input_tokens"],
        ABSENT,
        ANY,
        "a provider of OpenAI's format counts the prompt at the end of its stream, so the right count can only be there",
        _OPENAI,
    ),
    Row(
        "messages",
        ["message_start.message.usage.input_tokens"],
        ANY,
        ANY,
        "an estimate: the provider's count comes at the end of its stream, see above",
        _OPENAI,
    ),
    Row(
        "messages",
        ["stop_sequence"],
        "you",
        None,
        "a provider of OpenAI's format does not say that a stop sequence has ended the answer",
        _OPENAI,
        "a stop sequence",
    ),
    Row(
        "messages",
        ["content.input.arguments"],
        ABSENT,
        '{"city":',
        "of a call that was cut off, the bridge keeps the text of its arguments; llama.cpp leaves it out",
        _OPENAI,
        _CUT_CALL,
    ),
    Row(
        "messages",
        ["text", "stop_reason", "usage.output_tokens"],
        ANY,
        ANY,
        "llama.cpp's Messages API ignores the schema, its chat completions obey it",
        _OPENAI,
        _SCHEMA,
    ),
    Row("responses", ["bridge"], ABSENT, ANY, "the receipt, which llama.cpp has not"),
    Row(
        "responses",
        ["output.phase", "item.phase"],
        ABSENT,
        "final_answer",
        "OpenAI's field, by which Codex tells a comment from the answer; llama.cpp leaves it out",
    ),
    Row("responses", ["timings"], ANY, ABSENT, "llama.cpp's own field, which OpenAI has not"),
    Row(
        "responses",
        [
            *("background", "error", "incomplete_details", "instructions", "max_output_tokens", "max_tool_calls"),
            *("metadata", "parallel_tool_calls", "previous_response_id", "prompt_cache_key", "reasoning"),
            *("safety_identifier", "service_tier", "store", "temperature", "text", "tool_choice", "tools"),
            *("top_logprobs", "top_p", "truncation", "user", "frequency_penalty", "presence_penalty"),
            *("response.usage", "response.output"),
            *("response.model", "response.created_at", "response.completed_at"),
        ],
        ABSENT,
        ANY,
        "fields of OpenAI's response, which its types require in every state; llama.cpp leaves them out",
    ),
    Row(
        "responses",
        [
            *("sequence_number", "output_index", "content_index", "response.output_text.delta.logprobs"),
            *("response.output_text.done.logprobs", "part.logprobs", "part.annotations"),
        ],
        ABSENT,
        ANY,
        "fields of OpenAI's events, which its types require; llama.cpp leaves them out",
    ),
    Row(
        "responses",
        ["usage.output_tokens_details", "usage.input_tokens_details.cache_write_tokens"],
        ABSENT,
        ANY,
        "fields of OpenAI's usage; llama.cpp leaves them out",
    ),
    Row(
        "responses",
        ["status"],
        "completed",
        "incomplete",
        "an answer at its limit is not complete, as OpenAI says it; llama.cpp calls it complete",
    ),
    Row("responses", ["response.completed.type"], ANY, "response.incomplete", "the event of such an answer"),
    Row("responses", ["completed_at"], ANY, None, "such an answer was never complete"),
    Row(
        "responses",
        ["response.function_call_arguments.done"],
        ABSENT,
        "sent",
        "OpenAI sends it after the last piece of the arguments; llama.cpp does not",
    ),
    Row(
        "responses",
        ["arguments"],
        '{"city": "Berlin"}',
        '{"city":"Berlin"}',
        "in a whole answer of Anthropic's format, arguments are an object, not a text",
        _ANTHROPIC,
        "a tool that must be called, after a call and its result",
    ),
    Row(
        "responses",
        ["output.arguments"],
        '{"city":',
        "{}",
        "in a whole answer of Anthropic's format, arguments that were cut off have no place",
        _ANTHROPIC,
        _CUT_CALL,
    ),
    Row(
        "responses",
        ["content.text", "part.text", "done.text", "delta", "usage.output_tokens", "usage.total_tokens"],
        ANY,
        ANY,
        "llama.cpp's Responses API ignores the schema, its chat completions obey it",
        _OPENAI,
        _SCHEMA,
    ),
    Row(
        "responses",
        ["status", "stream"],
        200,
        400,
        "llama.cpp's Messages API does not call the tool whose input would be the answer, so the bridge says that it "
        "cannot obey the schema; llama.cpp's Responses API ignores it without a word",
        _ANTHROPIC,
        _SCHEMA,
    ),
)
