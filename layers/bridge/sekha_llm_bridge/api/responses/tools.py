"""Translates the tools of a request to functions, and the names of called functions back.

- A custom tool takes a text of any form. It becomes a function with one parameter `input`, because few providers have
  such tools; the grammar of its text is in the description, and nothing enforces it.
- The tools of a namespace become functions whose names have the namespace before them.
- A search for tools that the client runs becomes a function, too. What it found is added to the tools.
- `allowed_tools` leaves the others out.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from sekha_llm_bridge.api.parsing import json_text
from sekha_llm_bridge.api.responses.request import CHOICE_MODES, Tool
from sekha_llm_bridge.api.responses.unsupported import tool_message
from sekha_llm_bridge.conversation import Function, ToolChoice, ToolChoiceMode
from sekha_llm_bridge.errors import InvalidRequest

INPUT_PARAMETER = "input"
_AS_FUNCTION = f"(Here it is a function: the text goes as it is into `{INPUT_PARAMETER}`.)"
INVALID_ARGUMENTS = "invalid_arguments"
_MODES = {mode: ToolChoiceMode(mode) for mode in CHOICE_MODES}
_MAX_NAME_CHARACTERS = 64  # OpenAI's own limit for the name of a function
_SEPARATOR = "__"


class ToolKind(StrEnum):
    """The types of tools. The values are OpenAI's."""

    FUNCTION = "function"
    CUSTOM = "custom"
    SEARCH = "tool_search"


class SentTool(NamedTuple):
    """How the caller knows a tool."""

    name: str
    namespace: str | None = None
    kind: ToolKind = ToolKind.FUNCTION


class Tools(NamedTuple):
    """The functions that a provider gets, the caller's tools by the names of these, and the choice among them."""

    functions: tuple[Function, ...] = ()
    by_name: Mapping[str, SentTool] = {}
    choice: ToolChoice | None = None

    def called(self, name: str) -> SentTool:
        """Returns the caller's tool that a called function stands for. Models may leave the namespace out."""
        if (found := self.by_name.get(name)) is not None:
            return found
        without_namespace = [tool for tool in self.by_name.values() if tool.name == name]
        return without_namespace[0] if len(without_namespace) == 1 else SentTool(name)

    @property
    def has_grammar(self) -> bool:
        """Whether there is a custom tool, whose form nothing enforces."""
        return any(tool.kind is ToolKind.CUSTOM for tool in self.by_name.values())


def tools_of(
    tools: Sequence[Tool], choice: str | Mapping[str, Any] | None = None, *, added: Sequence[Tool] = ()
) -> Tools:
    """Returns the translated tools. `added` are those of input items: what is among them twice is the same.

    Raises `InvalidRequest` for two tools of one name in `tools`, and for a choice that names no tool of the request.
    """
    functions: dict[str, Function] = {}
    by_name: dict[str, SentTool] = {}
    for tool, sent in _flat(tools):
        name = function_name(sent.name, sent.namespace)
        if name in by_name:
            raise InvalidRequest(f"tools: there are two of the name {name:.80}", param="tools")
        by_name[name], functions[name] = sent, _function(tool, name)
    for tool, sent in _flat(added):
        name = function_name(sent.name, sent.namespace)
        by_name[name], functions[name] = sent, _function(tool, name)
    return _chosen(Tools(tuple(functions.values()), by_name), choice)


def found_text(tools: Iterable[Tool]) -> str:
    """Returns the result of a search for tools: the names and descriptions of the functions that it has found."""
    found = [
        {"name": function_name(sent.name, sent.namespace), "description": tool.description}
        for tool, sent in _flat(tools)
    ]
    return orjson.dumps(found).decode()


def function_name(name: str, namespace: str | None) -> str:
    """Returns the name of the function that stands for a tool. A long one ends with a hash of the whole."""
    if not namespace:
        return name
    whole = f"{namespace}{_SEPARATOR}{name}"
    if len(whole) <= _MAX_NAME_CHARACTERS:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole[: _MAX_NAME_CHARACTERS - len(digest) - 1]}_{digest}"


def arguments_of_input(text: str) -> str:
    """Returns the arguments of the function that stands for a custom tool."""
    return orjson.dumps({INPUT_PARAMETER: text}).decode()


def arguments_of_search(query: object) -> str:
    """Returns the arguments of the function that stands for a search for tools. Raises `InvalidRequest` where they are
    nested too deeply.
    """
    return json_text(query)


def input_of_arguments(arguments: str) -> str:
    """Returns the text for a custom tool: that of the parameter, whatever the model has named it, or a text in its
    place; all of the arguments where they have another form.
    """
    value = _parsed(arguments)
    if isinstance(value, dict):
        only = next(iter(value.values())) if len(value) == 1 else None
        value = value.get(INPUT_PARAMETER, only)
    return value if isinstance(value, str) else arguments


def as_object(arguments: str) -> str:
    """Returns the arguments of a call as the text of a JSON object. Models write other texts, and agents keep them;
    servers that parse them would refuse every later turn.
    """
    return arguments if isinstance(_parsed(arguments), dict) else json_text({INVALID_ARGUMENTS: arguments})


def object_of_arguments(arguments: str) -> Mapping[str, Any]:
    """Returns the arguments of a call as an object; an empty one where they are none."""
    value = _parsed(arguments)
    return value if isinstance(value, dict) else {}


def is_object(arguments: str) -> bool:
    """Returns whether the arguments of a call are a whole JSON object."""
    return isinstance(_parsed(arguments), dict)


def _parsed(arguments: str) -> object:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None


def _flat(tools: Iterable[Tool]) -> Iterator[tuple[Tool, SentTool]]:
    for tool in tools:
        if tool.type == "namespace":
            for inner in tool.tools or ():
                yield inner, SentTool(inner.name or "", tool.name, ToolKind(inner.type))
        else:
            yield tool, SentTool(tool.name or tool.type, None, ToolKind(tool.type))


def _function(tool: Tool, name: str) -> Function:
    if tool.type == ToolKind.CUSTOM:
        return _custom(tool, name)
    return Function(name, tool.description, tool.parameters, tool.strict)


def _custom(tool: Tool, name: str) -> Function:
    form = tool.format or {}
    description = f"{tool.description or ''}\n\n{_AS_FUNCTION}".strip()
    if form.get("type") == "grammar":
        grammar = f"`{INPUT_PARAMETER}` must follow this grammar ({form['syntax']}):\n{form['definition']}"
        description = f"{description}\n\n{grammar}"
    parameters = {
        "type": "object",
        "properties": {
            INPUT_PARAMETER: {"type": "string", "description": "The whole input of the tool, as plain text."}
        },
        "required": [INPUT_PARAMETER],
        "additionalProperties": False,
    }
    return Function(name, description, parameters)


def _chosen(tools: Tools, choice: str | Mapping[str, Any] | None) -> Tools:
    if choice is None:
        return tools
    if isinstance(choice, str):
        if choice not in _MODES:
            raise InvalidRequest(f"tool_choice: must be one of {', '.join(_MODES)}, or an object", param="tool_choice")
        return tools._replace(choice=ToolChoice(_MODES[choice]))
    match choice.get("type"):
        case "function" | "custom":
            return tools._replace(choice=ToolChoice(ToolChoiceMode.NAMED, _named(tools, choice, "tool_choice")))
        case "allowed_tools":
            return _allowed(tools, choice)
        case None:
            raise InvalidRequest("tool_choice: an object needs `type`", param="tool_choice")
        case kind:
            raise InvalidRequest(f"tool_choice: {tool_message(str(kind))}", param="tool_choice")


def _allowed(tools: Tools, choice: Mapping[str, Any]) -> Tools:
    allowed, mode = choice.get("tools"), choice.get("mode", "auto")
    if not isinstance(allowed, list) or not all(isinstance(one, dict) for one in allowed):
        raise InvalidRequest("tool_choice.tools: must be a list of objects", param="tool_choice.tools")
    if mode not in ("auto", "required"):  # any JSON: it may not be hashable
        raise InvalidRequest("tool_choice.mode: must be auto or required", param="tool_choice.mode")
    names = {_named(tools, one, "tool_choice.tools") for one in allowed}
    functions = tuple(function for function in tools.functions if function.name in names)
    return tools._replace(functions=functions, choice=ToolChoice(_MODES[mode]))


def _named(tools: Tools, choice: Mapping[str, Any], param: str) -> str:
    """Returns the name of the function for a tool that a choice names."""
    name, namespace = choice.get("name"), choice.get("namespace")
    if not isinstance(name, str) or not isinstance(namespace, str | None):
        raise InvalidRequest(f"{param}: a tool needs its `name`", param=param)
    found = function_name(name, namespace)
    if found not in tools.by_name:
        raise InvalidRequest(f"{param}: there is no tool {name:.80} in `tools`", param=param)
    return found
