"""Requests for chats that OpenAI's Responses API can say, too, the same requests in its format, and others of it."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from sekha_llm_bridge.api.chat.conversation import conversation_of as chat_conversation
from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.parsing import validated
from sekha_llm_bridge.api.responses.conversation import ParsedRequest, parsed_request
from sekha_llm_bridge.api.responses.request import ResponsesRequest
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.conversation import Conversation
from sekha_llm_bridge.providers import ChatCall
from sekha_llm_bridge.providers.openai.request import chat_payload
from sekha_llm_bridge.providers.openai.vendors import VENDORS
from tests.fakes.settings import chat_model, make_settings, provider
from tests.property.translators.generated import texts

Body = dict[str, Any]

PNG = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = "data:application/pdf;base64,JVBERi0xLjQK"
_SETTINGS = make_settings(provider("p", chat_model("m")))

names = st.text("abc_", min_size=1, max_size=5)
schemas = st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"a": {"type": "string"}}}, {}])


def objects(fields: Body, **optional: Any) -> st.SearchStrategy[Body]:
    """Objects with these fields, and perhaps some of the optional ones."""
    return st.fixed_dictionaries(fields, optional=optional)


def part(kind: str, value: Any) -> st.SearchStrategy[Body]:
    return objects({"type": st.just(kind), kind: value})


text_parts = part("text", texts)
user_parts = st.one_of(
    text_parts,
    part("image_url", objects({"url": st.sampled_from([PNG, "https://example.org/a.png"])}, detail=st.just("low"))),
    part("file", objects({"file_data": st.just(PDF)}, filename=texts) | objects({"file_id": st.just("file-1")})),
    part("input_audio", st.just({"data": "QUJD", "format": "wav"})),
)
user_messages = st.builds(
    lambda role, content: [{"role": role, "content": content}],
    st.sampled_from(["user", "system", "developer"]),
    texts | st.lists(user_parts, min_size=1, max_size=3),
)
assistant_texts = st.builds(
    lambda said, more: [{"role": "assistant", **said, **more}],
    objects({"content": texts | st.lists(text_parts, min_size=1, max_size=2)})
    | objects({"content": st.none(), "refusal": st.text(min_size=1, max_size=8)}),
    objects({}, reasoning_content=st.text(min_size=1, max_size=8)),
)
calls = st.builds(
    lambda name, arguments: {"name": name, "arguments": arguments}, names, st.sampled_from(["{}", '{"a": [1]}'])
)


@st.composite
def turns_with_calls(draw: st.DrawFn) -> list[Body]:
    """A message with calls, and their results."""
    functions = draw(st.lists(calls, min_size=1, max_size=3))
    ids = [f"call_{draw(st.integers(0, 99))}_{place}" for place in range(len(functions))]
    message: Body = {"role": "assistant", "content": draw(texts | st.none())}
    if thought := draw(st.text(max_size=8)):
        message["reasoning_content"] = thought
    message["tool_calls"] = [
        {"id": call_id, "type": "function", "function": function}
        for call_id, function in zip(ids, functions, strict=True)
    ]
    contents = texts | st.lists(text_parts, min_size=1, max_size=2)
    return [message, *({"role": "tool", "tool_call_id": call_id, "content": draw(contents)} for call_id in ids)]


def _joined(turns: list[list[Body]]) -> list[Body]:
    """The messages of all turns. A message with calls alone, after another one of the assistant, gets an empty text:
    in the Responses API, both would be one turn.
    """
    messages: list[Body] = []
    for message in (message for turn in turns for message in turn):
        follows_its_own = message["role"] == "assistant" == (messages[-1]["role"] if messages else None)
        is_calls_alone = "tool_calls" in message and message["content"] is None
        messages.append({**message, "content": ""} if follows_its_own and is_calls_alone else message)
    return messages


conversations = st.lists(user_messages | assistant_texts | turns_with_calls(), min_size=1, max_size=5).map(_joined)
tools = st.lists(
    objects({"name": names}, description=texts, parameters=schemas, strict=st.booleans()),
    max_size=3,
    unique_by=lambda function: str(function["name"]),
)
formats = st.sampled_from(
    [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "description": "d"}},
    ]
)


@st.composite
def chat_requests(draw: st.DrawFn) -> Body:
    """Requests for chats with what the Responses API can say, too."""
    functions = draw(tools)
    with_tools = objects(
        {},
        tool_choice=st.sampled_from(["auto", "none", "required"])
        | st.sampled_from(functions or [{"name": "f"}]).map(
            lambda function: {"type": "function", "function": {"name": function["name"]}}
        ),
        parallel_tool_calls=st.booleans(),
    )
    fields = draw(
        objects(
            {},
            response_format=formats,
            max_completion_tokens=st.integers(1, 99),
            temperature=st.floats(0, 2),
            top_p=st.floats(0, 1),
            reasoning_effort=st.sampled_from(["low", "high"]),
            verbosity=st.sampled_from(["low", "high"]),
            user=texts,
            service_tier=st.just("flex"),
            safety_identifier=texts,
            prompt_cache_key=texts,
        )
    )
    if functions:
        fields["tools"] = [{"type": "function", "function": function} for function in functions]
        fields |= draw(with_tools)
    if draw(st.booleans()):
        fields |= {"logprobs": True, "top_logprobs": draw(st.integers(1, 5))}
    return {"messages": draw(conversations), **fields}


def as_responses(chat: Body) -> Body:
    """The same request in the format of the Responses API, by its documentation."""
    body = {name: value for name, value in chat.items() if name not in _OTHER_NAMES}
    body["input"] = [item for message in chat["messages"] for item in _items(message)]
    if "max_completion_tokens" in chat:
        body["max_output_tokens"] = chat["max_completion_tokens"]
    if "reasoning_effort" in chat:
        body["reasoning"] = {"effort": chat["reasoning_effort"]}
    text: Body = {"verbosity": chat["verbosity"]} if "verbosity" in chat else {}
    if (form := chat.get("response_format")) is not None:
        text["format"] = {"type": form["type"], **form.get("json_schema", {})}
    if text:
        body["text"] = text
    if "tools" in chat:
        body["tools"] = [{"type": "function", **tool["function"]} for tool in chat["tools"]]
    if isinstance(choice := chat.get("tool_choice"), dict):
        body["tool_choice"] = {"type": "function", **choice["function"]}
    return body


_OTHER_NAMES = {"messages", "max_completion_tokens", "reasoning_effort", "verbosity", "response_format", "logprobs"}


def _items(message: Body) -> Iterator[Body]:
    role: str = message["role"]
    content: Any = message.get("content")
    if role == "tool":
        output = content if isinstance(content, str) else [_part(one, "input_text") for one in content]
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}
        return
    if thought := message.get("reasoning_content"):
        yield {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": thought}],
        }
    if message.get("refusal"):
        yield {"role": role, "content": [{"type": "refusal", "refusal": message["refusal"]}]}
    elif isinstance(content, list):
        yield {
            "role": role,
            "content": [_part(one, "output_text" if role == "assistant" else "input_text") for one in content],
        }
    elif content is not None:
        yield {"type": "message", "role": role, "content": content}
    for call in message.get("tool_calls", ()):
        yield {"type": "function_call", "id": "fc_1", "call_id": call["id"], **call["function"]}


def _part(sent: Body, text_kind: str) -> Body:
    match sent["type"]:
        case "text":
            return {"type": text_kind, "text": sent["text"]}
        case "image_url":
            detail = {"detail": sent["image_url"]["detail"]} if "detail" in sent["image_url"] else {}
            return {"type": "input_image", "image_url": sent["image_url"]["url"], **detail}
        case "file":
            return {"type": "input_file", **sent["file"]}
        case _:
            return sent


def parsed(body: Body) -> ParsedRequest:
    """A request for a response. Raises `InvalidRequest`."""
    return parsed_request(validated(ResponsesRequest, body), body, _SETTINGS)


def check_translation(chat: Body) -> None:
    """Checks that OpenAI gets the same for a chat in either format. Texts in a list are the same text: one alone, and
    those that are not the user's.
    """
    ChatRequest.model_validate(chat)
    direct = _payload(chat_conversation(chat))
    translated = _payload(parsed(as_responses(chat)).chat.conversation)
    assert _plain(translated) == _plain(direct), json.dumps(as_responses(chat))


def _payload(conversation: Conversation) -> Body:
    return chat_payload(ChatCall("m", conversation, None, 4096), VENDORS[ProviderType.OPENAI])


def _plain(payload: Body) -> Body:
    return {**payload, "messages": [_plain_message(message) for message in payload["messages"]]}


def _plain_message(message: Body) -> Body:
    content = message.get("content")
    if not isinstance(content, list) or any(part["type"] != "text" for part in content):
        return message
    is_text = len(content) == 1 or message["role"] != "user"
    return {**message, "content": "\n".join(part["text"] for part in content)} if is_text else message


response_requests = chat_requests().map(as_responses) | st.builds(
    lambda body, more: {**body, **more},
    chat_requests().map(as_responses),
    objects(
        {},
        instructions=texts,
        include=st.just(["reasoning.encrypted_content"]),
        metadata=st.dictionaries(names, texts, max_size=2),
        truncation=st.sampled_from(["auto", "disabled"]),
        input=st.lists(
            st.one_of(
                objects(
                    {"type": st.just("reasoning"), "summary": st.just([{"type": "summary_text", "text": "Hm."}])},
                    encrypted_content=texts | st.just("bridge1.W10="),
                    id=names,
                ),
                objects({"type": st.just("custom_tool_call"), "call_id": names, "name": names, "input": texts}),
                objects({"type": st.just("custom_tool_call_output"), "call_id": names, "output": texts}),
                objects({"type": st.just("item_reference"), "id": names}),
                objects({"type": st.sampled_from(["web_search_call", "mcp_list_tools", "x:y"])}, tools=texts, id=names),
                objects({"type": st.sampled_from(["local_shell_call", "shell_call"])}, call_id=names, action=schemas),
                objects({"type": st.just("shell_call_output")}, call_id=names, output=st.lists(schemas) | st.none()),
                objects({"type": st.just("tool_search_call"), "call_id": names}, arguments=st.just({"query": "x"})).map(
                    lambda item: {"execution": "client", **item}
                ),
                st.just(
                    {
                        "type": "tool_search_output",
                        "execution": "client",
                        "call_id": "c",
                        "tools": [{"type": "function", "name": "f"}],
                    }
                ),
                objects({"role": st.just("user"), "content": texts}),
            ),
            min_size=1,
            max_size=3,
        ),
        tools=st.lists(
            st.one_of(
                objects(
                    {"type": st.just("custom"), "name": names},
                    format=st.just({"type": "grammar", "syntax": "lark", "definition": "start: A"}),
                ),
                objects(
                    {"type": st.just("namespace"), "name": names, "tools": st.just([{"type": "custom", "name": "n"}])}
                ),
                objects({"type": st.sampled_from(["web_search", "mcp"])}),
                st.just({"type": "tool_search", "execution": "client"}),
            ),
            max_size=2,
        ),
        tool_choice=objects({"type": st.just("allowed_tools"), "mode": st.just("auto"), "tools": st.just([])}),
        previous_response_id=st.none() | names,
    ),
)
"""Requests for responses: chats in its format, and what only this API has."""
