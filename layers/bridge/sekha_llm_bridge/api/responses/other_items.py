"""Items of tools that other servers define, in the history of a conversation that began there.

Calls of tools that OpenAI runs say little without its server, and what they found is in the assistant's text: they are
left out. Calls that the client has run become calls of a function of the tool's name, with their outputs.
"""

from collections.abc import Mapping
from typing import Any

from sekha_llm_bridge.api.parsing import json_text

_RUN_BY_OPENAI = frozenset(
    {
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
        *("mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response"),
        *("program", "program_output"),
    }
)
_SEARCHES = frozenset({"tool_search_call", "tool_search_output"})
_RUN_BY_CLIENT = {"local_shell_call": "action", "shell_call": "action", "apply_patch_call": "operation"}
"""The types of calls that clients run, each with the field of its arguments."""
_OUTPUT = "_output"


def is_left_out(kind: str, execution: str | None) -> bool:
    """Returns whether an item is of a tool that OpenAI runs, or another server's own (`server:type`). A search for
    tools says itself who runs it.
    """
    return kind in _RUN_BY_OPENAI or ":" in kind or (kind in _SEARCHES and execution != "client")


def in_known_form(sent: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns an item in the form of a function's call or output where it is one that clients run; of one that is left
    out, its type alone; any other item as it is. Raises `InvalidRequest` where it is nested too deeply.
    """
    kind = sent.get("type")
    if not isinstance(kind, str):
        return sent
    if is_left_out(kind, sent.get("execution")):
        return {name: sent[name] for name in ("type", "execution") if name in sent}
    call = kind.removesuffix(_OUTPUT)
    if call not in _RUN_BY_CLIENT:
        return sent
    call_id = sent.get("call_id") or sent.get("id")
    if kind == call:
        name, arguments = call.removesuffix("_call"), json_text(sent.get(_RUN_BY_CLIENT[call]) or {})
        return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
    output = sent.get("output") or sent.get("status") or ""
    text = output if isinstance(output, str) else json_text(output)
    return {"type": "function_call_output", "call_id": call_id, "output": text}
