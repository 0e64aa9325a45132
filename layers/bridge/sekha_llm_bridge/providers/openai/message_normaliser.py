"""Makes the message of one choice regular: the same rules for a whole message and for the deltas of a stream.

Clients join the deltas of a choice by concatenation, and the fragments of a tool call by index, so every role, id, type
and name is given out once. Vendors deviate from this in many ways; what a client gets does not.
"""

import secrets
from typing import Any

import orjson

from sekha_llm_bridge.providers.base import malformed_answer
from sekha_llm_bridge.providers.single_choice import arguments_text
from sekha_llm_bridge.providers.token_counts import is_count

_EMPTY_ARGUMENTS = "{}"


class MessageNormaliser:
    """Normalises the deltas of one choice, in order. A whole message is its only delta.

    Content in parts is joined to one text. Every tool call has an id, a type, text as its arguments, and an index: the
    calls are numbered from 0 in the order in which they begin. Empty lists of calls are left out.
    """

    def __init__(self) -> None:
        self._has_begun = False
        self._calls: dict[int, _Call] = {}  # by the vendor's index, or by a new one where two calls share it
        self._index_by_vendor_index: dict[int, int] = {}  # the key in `_calls` that a vendor's index means now
        self._latest_index = 0
        self._named_in_delta: set[int] = set()  # calls with a name and without an index, in the present delta

    def normalise_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Returns the delta with a role only in the first one. Raises `ProviderError` (MALFORMED_ANSWER)."""
        normalised = {**delta}
        normalised.pop("role", None)
        if "content" in normalised:
            normalised |= normalise_content(normalised["content"])
        if not self._has_begun:
            self._has_begun = True
            normalised = {"role": "assistant", **normalised}
        if "tool_calls" in normalised and (fragments := self._fragments(normalised.pop("tool_calls"))):
            normalised["tool_calls"] = fragments
        if normalised.get("function_call", True) is None:
            del normalised["function_call"]
        return normalised

    def finish(self) -> list[dict[str, Any]]:
        """Returns fragments for the calls without any arguments: clients read the arguments as a JSON object."""
        without = [call for call in self._calls.values() if not call.has_arguments and call.is_function]
        for call in without:
            call.arguments.append(_EMPTY_ARGUMENTS)
        return [{"index": call.position, "function": {"arguments": _EMPTY_ARGUMENTS}} for call in without]

    def whole_message(self, message: dict[str, Any]) -> dict[str, Any]:
        """Returns a complete message. Its tool calls have no indexes."""
        calls = message.get("tool_calls")
        if isinstance(calls, list) and all(isinstance(call, dict) for call in calls):
            message = {**message, "tool_calls": [{**call, "index": index} for index, call in enumerate(calls)]}
        normalised = self.normalise_delta(message)
        for call in normalised.get("tool_calls", ()):
            del call["index"]
            if "function" in call and not call["function"]["arguments"]:
                call["function"]["arguments"] = _EMPTY_ARGUMENTS
        return normalised

    def _fragments(self, calls: object) -> list[dict[str, Any]]:
        if not calls:
            return []
        calls = [calls] if isinstance(calls, dict) and "function" in calls else calls  # older versions of TGI
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise malformed_answer("the provider's answer has tool calls that are none")
        self._named_in_delta.clear()
        return [self._fragment(call) for call in calls]

    def _fragment(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Returns one fragment of a call; the id, the type and the name are in the first one only."""
        function = sent.get("function")
        if not isinstance(function, dict | None):
            raise malformed_answer("the provider's answer has tool calls that are none")
        call_id, name = _id_text(sent.get("id")), (function or {}).get("name") or None
        if not isinstance(name, str | None):
            raise malformed_answer("the provider's answer has a tool call whose name is no text")
        key = self._key(sent.get("index"), call_id, name, arguments_text((function or {}).get("arguments")))
        is_first = key not in self._calls
        if is_first:
            is_function = function is not None or sent.get("type") in {None, "", "function"}
            is_new_id_needed = call_id is None or any(other.call_id == call_id for other in self._calls.values())
            self._calls[key] = _Call(len(self._calls), call_id, is_function=is_function)
            call_id = f"call_{secrets.token_hex(12)}" if is_new_id_needed else call_id
        call = self._calls[key]
        fragment = {**sent, "index": call.position}
        if is_first:
            fragment |= {"id": call_id, "type": sent.get("type") or "function"}
        else:
            fragment.pop("id", None)
            fragment.pop("type", None)
        if call.is_function:
            fragment["function"] = self._function(call, function or {})
        return fragment

    @staticmethod
    def _function(call: "_Call", sent: dict[str, Any]) -> dict[str, Any]:
        function = {**sent, "arguments": arguments_text(sent.get("arguments"))}
        if function.get("name") and call.name is None:
            call.name = function["name"]
        else:
            function.pop("name", None)
        call.arguments.append(function["arguments"])
        return function

    def _key(self, sent_index: object, call_id: object, name: object, arguments: str) -> int:
        """Returns the key of the call that a fragment belongs to.

        Some vendors send no index, or the same one for every call. There another name, or the same name with another
        id, starts another call; so does another name in the same delta.
        """
        vendor_index = sent_index if is_count(sent_index) and isinstance(sent_index, int) else None
        key = self._latest_index
        if vendor_index is not None:
            key = self._index_by_vendor_index.get(vendor_index, vendor_index)
        known = self._calls.get(key)
        if known is not None and (known.is_other_than(call_id, name) or known.is_followed_by(call_id, name, arguments)):
            with_same_id = (i for i, other in self._calls.items() if other.call_id == call_id is not None)
            key = next(with_same_id, max(self._calls) + 1)
        if vendor_index is not None:
            self._index_by_vendor_index[vendor_index] = key
        elif name is not None:
            if key in self._named_in_delta:
                key = max(self._calls) + 1
            self._named_in_delta.add(key)
        self._latest_index = key
        return key


def _id_text(sent: object) -> str | None:
    """Returns the id of a call, which some vendors send as a number; None where there is none."""
    if isinstance(sent, int) and not isinstance(sent, bool):
        return str(sent)
    return sent if isinstance(sent, str) and sent else None


class _Call:
    """One tool call. `position` is the index that clients get. `name` is None until a fragment has it."""

    def __init__(self, position: int, call_id: object, *, is_function: bool) -> None:
        self.position = position
        self.call_id = call_id
        self.name: object = None
        self.is_function = is_function
        self.arguments: list[str] = []

    @property
    def has_arguments(self) -> bool:
        return any(self.arguments)

    def is_other_than(self, call_id: object, name: object) -> bool:
        """Returns whether a fragment with this id and name starts another call than this one with the same index.

        Only a fragment with a name starts a call: some vendors give every fragment an id of its own.
        """
        if name is None:
            return False
        has_other_id = call_id is not None and self.call_id is not None and call_id != self.call_id
        return has_other_id or (self.name is not None and name != self.name)

    def is_followed_by(self, call_id: object, name: object, arguments: str) -> bool:
        """Returns whether a fragment with a name and arguments comes after this call's arguments are complete, so that
        it is another call of the same function.
        """
        if name is None or not arguments or (call_id is not None and call_id == self.call_id):
            return False
        try:
            return isinstance(orjson.loads("".join(self.arguments)), dict)
        except orjson.JSONDecodeError:
            return False


def normalise_content(content: object) -> dict[str, str | None]:
    """Returns `content` as one text; some vendors send it in parts.

    Parts of type `thinking` become `reasoning_content`. Raises `ProviderError` (MALFORMED_ANSWER) for other content.
    """
    if content is None or isinstance(content, str):
        return {"content": content}
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise malformed_answer("the provider's answer has content that is no text")
    thoughts = [
        normalise_content(part.get("thinking"))["content"] or "" for part in content if part.get("type") == "thinking"
    ]
    text = "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return {"content": text, "reasoning_content": "".join(thoughts)} if thoughts else {"content": text}


def message_of(choice: dict[str, Any], name: str, other: str | None = None) -> object:
    """Returns the part of a choice that has this name; else what stands in its place: the other part, or its `text`.

    Some servers send `message` where a `delta` belongs, the reverse, or the `text` of the older completions API.
    """
    if choice.get(name) is not None:
        return choice[name]
    if other is not None and choice.get(other):
        return choice[other]
    text = choice.get("text")
    return {"content": text} if isinstance(text, str) else None
