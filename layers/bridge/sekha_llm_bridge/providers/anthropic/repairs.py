"""The forms of messages that are sent where Anthropic refuses what agents send, or what another server has made: empty
texts, ids and inputs of calls, media types, schemas. Without them, a conversation could never go on.

Sources: Anthropic's error messages, as they are quoted in public reports: "text content blocks must be non-empty",
"cache_control cannot be set for empty text blocks", "tool_use.id: String should match pattern", "tool_use.input: Input
should be a valid dictionary", "Image does not match the provided media type",
"input_schema.properties: Input should be an object".
"""

from collections.abc import Callable, Mapping, Sequence

from sekha_llm_bridge.conversation import Conversation, Image, Json
from sekha_llm_bridge.providers.adaptation import Adaptation
from sekha_llm_bridge.providers.anthropic.messages import blocks_of
from sekha_llm_bridge.providers.anthropic.output_format import Payload
from sekha_llm_bridge.providers.call_ids import ID_FIELDS, CallIds, anthropic_call_id, without_repeated
from sekha_llm_bridge.providers.call_inputs import input_object
from sekha_llm_bridge.providers.empty_objects import schema_with_objects
from sekha_llm_bridge.providers.tool_results import SEE_BELOW, from_result


def repairs(conversation: Conversation) -> Sequence[Adaptation]:
    """Returns the other forms that the messages of one request may need."""
    return (
        Adaptation(r"\b(?:non-)?empty\b|\bnon-whitespace\b", _without_empty_content),
        Adaptation(r"\btool_use\.input\b", _with_blocks(_with_object)),
        Adaptation(r"\binput_schema\b.{0,200}\b(?:object|dictionary)\b", _with_schemas_of_objects),
        Adaptation(r"\btool_use(?:_id|\.id)\b.{0,80}\bpattern\b", _with_blocks(_with_valid_id)),
        Adaptation(r"\bids must be unique\b|\bmultiple\W+tool_result\b", _with_unique_ids),
        Adaptation(r"\btrailing whitespace\b", _without_trailing_whitespace),
        Adaptation(r"\bvalid string\b|\bexpected (?:a )?string\b", _with_results_as_texts),
        _true_media_types(conversation),
    )


def _with_blocks(change: Callable[[Json], Json]) -> Callable[[Payload], Payload | None]:
    """Returns the change of a request that changes each block of its messages."""

    def change_all(payload: Payload) -> Payload | None:
        messages = [
            {**message, "content": list(map(change, blocks))} if (blocks := blocks_of(message)) else message
            for message in payload["messages"]
        ]
        return None if messages == payload["messages"] else {**payload, "messages": messages}

    return change_all


def _with_valid_id(block: Json) -> Json:
    """Replaces an id of a call that Anthropic does not take: another server has made it."""
    name = ID_FIELDS.get(block["type"], "")
    return {**block, name: anthropic_call_id(str(block[name]))} if block.get(name) else block


def _with_unique_ids(payload: Payload) -> Payload | None:
    """Drops calls and results that a message has twice, and renames the later calls of an id: some servers count from
    0 in every answer.
    """
    ids = CallIds(anthropic_call_id)
    messages = [_with_unique_ids_in(message, ids) for message in payload["messages"]]
    return None if messages == payload["messages"] else {**payload, "messages": messages}


def _with_unique_ids_in(message: Json, ids: CallIds) -> Json:
    of = {"tool_use": ids.of_call, "tool_result": ids.of_result}
    blocks = [
        {**block, name: of[block["type"]](block.get(name))} if (name := ID_FIELDS.get(block["type"])) else block
        for block in without_repeated(blocks_of(dict(message)))
    ]
    return {**message, "content": blocks} if blocks else message


def _without_trailing_whitespace(payload: Payload) -> Payload | None:
    """Removes the whitespace after an answer that the caller has begun."""
    *before, last = payload["messages"]
    if last["role"] != "assistant" or not last["content"]:
        return None
    if isinstance(content := last["content"], str):
        trimmed: object = content.rstrip()
    else:
        *others, block = content
        trimmed = [*others, {**block, "text": block["text"].rstrip()} if block["type"] == "text" else block]
    return None if trimmed == content else {**payload, "messages": [*before, {**last, "content": trimmed}]}


def _with_results_as_texts(payload: Payload) -> Payload | None:
    """Joins the texts of each result, and puts its images after the results, for servers whose results are texts."""
    messages = [_with_texts(message) for message in payload["messages"]]
    return None if messages == payload["messages"] else {**payload, "messages": messages}


def _with_texts(message: Json) -> Json:
    results: list[Json] = []
    others: list[Json] = []
    for block in blocks_of(dict(message)):
        content = block.get("content")
        if block["type"] != "tool_result" or not isinstance(content, list):
            (results if block["type"] == "tool_result" else others).append(block)
            continue
        media = [one for one in content if one.get("type") != "text"]
        texts = [str(one.get("text")) for one in content if one.get("type") == "text"]
        results.append({**block, "content": "\n".join([*texts, SEE_BELOW] if media else texts)})
        if media:
            others += [{"type": "text", "text": from_result(block.get("tool_use_id"))}, *media]
    return {**message, "content": [*results, *others]} if results else message


def _with_object(block: Json) -> Json:
    """Replaces the input of a call that is a text: agents keep it so where a model has written no JSON object."""
    return {**block, "input": input_object(block.get("input"))} if block["type"] == "tool_use" else block


def _with_schemas_of_objects(payload: Payload) -> Payload | None:
    """Replaces empty lists in the schemas of tools by the objects that they are meant to be."""
    tools = payload.get("tools") or []
    changed = [
        {**tool, "input_schema": schema_with_objects(tool["input_schema"])} if "input_schema" in tool else tool
        for tool in tools
    ]
    return None if changed == tools else {**payload, "tools": changed}


def _without_empty_content(payload: Payload) -> Payload | None:
    """Drops texts without a visible character, and messages that have nothing else: an answer may have been empty."""
    changed = {**payload, "messages": [_filled(message) for message in payload["messages"]]}
    changed["messages"] = [message for message in changed["messages"] if message["content"]]
    if isinstance(payload.get("system"), list):
        changed["system"] = _filled({"content": payload["system"]})["content"]
    return None if changed == payload or not changed["messages"] else changed


def _filled(holder: Json) -> Payload:
    content = holder.get("content")
    if isinstance(content, str):
        return {**holder, "content": content if content.strip() else ""}
    blocks = [_filled(one) if one.get("type") == "tool_result" else one for one in content or ()]
    kept = [one for one in blocks if one.get("type") != "text" or str(one.get("text")).strip()]
    return {**holder, "content": kept} if kept or content else dict(holder)


def _true_media_types(conversation: Conversation) -> Adaptation:
    """Returns the form with the media types that images have by their bytes: agents take them from names of files."""

    def change(payload: Payload) -> Payload | None:
        blocks = (block for message in conversation.messages for block in message.blocks)
        types = {block.media.data: block.media.media_type for block in blocks if isinstance(block, Image)}
        messages = [_with_true_type(message, types) for message in payload["messages"]]
        return None if messages == payload["messages"] else {**payload, "messages": messages}

    return Adaptation(r"\bimage\b.{0,60}\bmedia type\b", change)


def _with_true_type(holder: Json, types: Mapping[str | None, str | None]) -> Payload:
    content, source = holder.get("content"), holder.get("source")
    if holder.get("type") == "image" and isinstance(source, dict) and (found := types.get(source.get("data"))):
        return {**holder, "source": {**source, "media_type": found}}
    if not isinstance(content, list):
        return dict(holder)
    return {**holder, "content": [_with_true_type(block, types) for block in content]}
