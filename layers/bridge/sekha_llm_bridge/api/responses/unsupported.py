"""What of OpenAI's Responses API the bridge does not have, and what to do instead.

The bridge stores no conversations, and runs no tools: what needs either is an error that says the way out, because an
answer without it would be another one than the caller asked for.
"""

from collections.abc import Mapping

_WHOLE_INPUT = "send the whole conversation in `input`: the bridge stores none"

FIELDS: Mapping[str, str] = {
    "previous_response_id": f"{_WHOLE_INPUT}. Many clients do with `store: false` (`StoredOutputEnabled` in .NET), and "
    "VS Code with `zeroDataRetentionEnabled: true`",
    "conversation": _WHOLE_INPUT,
    "background": "leave it out, and set `stream` for an answer that takes long: the bridge stores no answers to fetch",
    "background_options": "leave it out: the bridge stores no answers to fetch",
    "prompt": "send the text of the prompt in `instructions` and `input`: the bridge stores no prompts",
    "messages": "send them as `input`",
    "max_tokens": "it is `max_output_tokens` in this API",
    "max_completion_tokens": "it is `max_output_tokens` in this API",
    "response_format": "it is `text.format` in this API",
    "functions": "they are `tools` in this API",
    "function_call": "it is `tool_choice` in this API",
    "moderation": "leave it out, and check the texts before and after: the bridge has no moderation",
}
"""Top-level fields that are refused unless they are null, false or empty, with what to do instead: what needs a store,
and what chat completions have in another place, which must not be lost without a word.
"""

_OWN_FUNCTION = "give a tool of type `function` instead, and run it in the client"
_OWN_CUSTOM = "give a tool of type `function` or `custom` instead, and run it in the client"

TOOLS: Mapping[str, str] = {
    "web_search": f'{_OWN_FUNCTION}; Codex leaves it out with `web_search = "disabled"`',
    "web_search_preview": _OWN_FUNCTION,
    "file_search": "search first, for example with POST /api/v1/search, and send what was found in `input`",
    "code_interpreter": _OWN_FUNCTION,
    "computer": _OWN_FUNCTION,
    "computer_use": _OWN_FUNCTION,
    "computer_use_preview": _OWN_FUNCTION,
    "image_generation": _OWN_FUNCTION,
    "mcp": "connect the client to that server, and give its tools with type `function`",
    "local_shell": _OWN_FUNCTION,
    "shell": _OWN_FUNCTION,
    "apply_patch": _OWN_CUSTOM,
    "tool_search": 'set `execution` to "client" and search there, or list every tool in `tools`',
    "programmatic_tool_calling": "leave it out: the bridge runs no programs",
}
"""Types of tools that OpenAI runs or defines itself, with what to do instead."""

_OTHER_TOOL = "the types are `function`, `custom`, `namespace`, and `tool_search` in the client"


def tool_message(kind: str) -> str:
    """Returns why a tool of this type is refused, and the way out."""
    base = kind if kind in TOOLS else kind.split("_20", 1)[0]  # some types have a date: web_search_2025_08_26
    if base not in TOOLS:
        return f"there are no tools of type {kind:.60}; {_OTHER_TOOL}"
    return f"the bridge does not run OpenAI's own tool {kind:.60}; {TOOLS[base]}"


def item_message(kind: str) -> str:
    """Returns why an input item of this type is refused, and the way out."""
    match kind:
        case "item_reference":
            return (
                "the bridge stores no items that a reference could mean; send the item itself. The AI SDK does with "
                "`store: false` in its `providerOptions.openai`"
            )
        case "compaction":
            return "only OpenAI can read a compaction; send the items that it stands for"
        case "compaction_trigger":
            return "the bridge compacts no conversations; ask for a summary in a message, and send that as `input`"
        case _:
            return (
                f"there are no input items of type {kind:.60} here; send messages, reasoning, and calls of functions "
                "and custom tools with their outputs"
            )
