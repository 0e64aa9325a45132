"""The request of OpenAI's Responses API, and the bridge's extensions. The ranges are OpenAI's. Unknown fields are kept.

Source: OpenAI's API reference, "Create a model response".
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)

from sekha_llm_bridge.api.conversations.images import check_image_url, check_other_urls
from sekha_llm_bridge.api.conversations.options import OptionFields
from sekha_llm_bridge.api.responses import unsupported
from sekha_llm_bridge.api.responses.other_items import in_known_form, is_left_out
from sekha_llm_bridge.providers.empty_objects import schema_with_objects

_INT32 = 2**31
_MAX_METADATA_PAIRS = 16
_TEXT_PARTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_PARTS = _TEXT_PARTS | {"input_image", "input_file", "input_audio", "refusal"}
_FILE_FIELDS = ("file_data", "file_url", "file_id")
_NEEDED_BY_ITEMS: Mapping[str, tuple[str, ...]] = {
    "message": ("role", "content"),
    "reasoning": (),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "custom_tool_call": ("call_id", "name", "input"),
    "custom_tool_call_output": ("call_id", "output"),
    "tool_search_call": ("call_id", "arguments"),
    "tool_search_output": ("call_id", "tools"),
    "additional_tools": ("tools",),
}
CHOICE_MODES = ("auto", "none", "required")
_GRAMMAR_FIELDS = ("syntax", "definition")
_ADDING_TOOLS = frozenset({"tool_search_output", "additional_tools"})


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ContentPart(_Lenient):
    """One part of a message, of the output of a tool, or of reasoning."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    file_data: str | None = None
    filename: str | None = None
    input_audio: dict[str, Any] | None = None

    @field_validator("image_url")
    @classmethod
    def _reachable(cls, url: str | None) -> str | None:
        if url is not None:
            check_image_url(url)
        return url

    def model_post_init(self, _context: object, /) -> None:
        """Validates that a part is of a known type, and has the field that its type needs."""
        if self.type in _TEXT_PARTS:
            _require(self.type, text=self.text)
            return
        match self.type:
            case "refusal":
                _require(self.type, refusal=self.refusal)
            case "input_image":
                if self.image_url is None and self.file_id is not None:
                    raise ValueError(
                        "the bridge stores no files; send the image in `image_url`, as a data: URL or by URL"
                    )
                _require(self.type, image_url=self.image_url)
            case "input_file":
                if all(getattr(self, name) is None for name in _FILE_FIELDS):
                    raise ValueError("a part of type input_file needs `file_data`, `file_url` or `file_id`")
                if (data := self.file_data) and data[:5].lower() == "data:" and ";base64," not in data[:200].lower():
                    raise ValueError("a data: URL in `file_data` must be data:TYPE;base64,…")
                check_other_urls(self.type, {name: getattr(self, name) for name in _FILE_FIELDS})
            case "input_audio":
                audio = self.input_audio or {}
                if not all(isinstance(audio.get(name), str) for name in ("data", "format")):
                    raise ValueError(
                        'a part of type input_audio needs `input_audio`: {"data": base64, "format": "wav"}'
                    )
            case _:
                raise ValueError(
                    f"there are no parts of type {self.type:.60}; the types are {', '.join(sorted(_PARTS))}"
                )


def _require(kind: str, **fields: object) -> None:
    for name, value in fields.items():
        if value is None:
            raise ValueError(f"a part of type {kind} needs `{name}`")


class InputItem(_Lenient):
    """One item of the input: a message, reasoning, or a call of a tool or its output."""

    type: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ContentPart] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | dict[str, Any] | None = None
    input: str | None = None
    output: str | list[ContentPart] | None = None
    summary: list[ContentPart] | None = None
    encrypted_content: str | None = None
    execution: str | None = None
    tools: list["Tool"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_form(cls, sent: object) -> object:
        return in_known_form(sent) if isinstance(sent, dict) else sent

    @property
    def kind(self) -> str:
        """The type of the item: OpenAI requires none of a message and of a reference."""
        return self.type or ("item_reference" if self.role is None and self.id is not None else "message")

    def model_post_init(self, _context: object, /) -> None:
        """Validates that an item is of a known type, and has the fields that its type needs."""
        kind = self.kind
        if is_left_out(kind, self.execution):
            return
        if kind not in _NEEDED_BY_ITEMS:
            raise ValueError(unsupported.item_message(kind))
        for name in _NEEDED_BY_ITEMS[kind]:
            if getattr(self, name) is None:
                raise ValueError(f"an item of type {kind} needs `{name}`")
        if kind == "function_call" and not isinstance(self.arguments, str):
            raise ValueError("the `arguments` of a function are a JSON text")
        if kind == "reasoning" and isinstance(self.content, str):
            raise ValueError("the `content` of reasoning is a list of parts")


class Tool(_Lenient):
    """A tool that a model may use."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: Annotated[dict[str, Any] | None, BeforeValidator(schema_with_objects)] = None
    strict: StrictBool | None = None
    format: dict[str, Any] | None = None
    execution: str | None = None
    tools: list["Tool"] | None = None

    def model_post_init(self, _context: object, /) -> None:
        """Validates that a tool is none of OpenAI's own, and has the fields that its type needs."""
        if self.type == "tool_search" and self.execution == "client":
            return
        if self.type not in {"function", "custom", "namespace"}:
            raise ValueError(unsupported.tool_message(self.type))
        if not self.name:
            raise ValueError(f"a tool of type {self.type} needs `name`")
        form = self.format or {}
        if form.get("type") == "grammar" and not all(isinstance(form.get(name), str) for name in _GRAMMAR_FIELDS):
            raise ValueError("a `format` of type grammar needs `syntax` and `definition`")
        if self.type != "namespace":
            return
        if self.tools is None:
            raise ValueError("a tool of type namespace needs `tools`")
        if any(tool.type not in {"function", "custom"} for tool in self.tools):
            raise ValueError("a namespace holds tools of type function and custom only")


class TextFormat(_Lenient):
    """The required format of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: StrictBool | None = None
    description: str | None = None

    def model_post_init(self, _context: object, /) -> None:
        """Validates that type json_schema has its schema."""
        if self.type == "json_schema" and (self.schema_ is None or not self.name):
            raise ValueError("type json_schema needs `name` and `schema`")


class TextConfig(_Lenient):
    """What the text of the answer is to be like."""

    format: TextFormat | None = None
    verbosity: str | None = None


class Reasoning(_Lenient):
    """How much the model is to reason, and whether its reasoning is to be summarised."""

    effort: str | None = None
    summary: str | None = None


def flat_choice(choice: dict[str, Any]) -> str | dict[str, Any]:
    """Returns a choice of tools in this API's form: clients that convert chats send the function's name in an object
    `function`, or a mode in an object.
    """
    function = choice.get("function")
    if choice.get("type") == "function" and isinstance(function, dict) and "name" not in choice:
        return {"type": "function", "name": function.get("name")}
    if choice.keys() == {"type"} and choice["type"] in CHOICE_MODES:
        return str(choice["type"])
    return choice


class ResponsesRequest(OptionFields, _Lenient):
    """A request for a response. The penalties, `stop` and `seed` are not OpenAI's: servers of open models have them
    here, too.
    """

    input: str | Annotated[list[InputItem], Field(min_length=1)]
    model: str | None = None
    instructions: str | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    max_output_tokens: Annotated[int, Field(strict=True, ge=1, lt=_INT32)] | None = None
    max_tool_calls: Annotated[int, Field(strict=True, ge=1, lt=_INT32)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(strict=True, ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(strict=True, ge=-2, le=2)] | None = None
    stop: str | list[str] | None = None
    seed: StrictInt | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=20)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=_MAX_METADATA_PAIRS)] | None = None
    store: StrictBool | None = None
    stream: StrictBool | None = None
    stream_options: dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    context_management: list[dict[str, Any]] | None = None
    user: str | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @field_validator("tool_choice")
    @classmethod
    def _flat(cls, choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        return flat_choice(choice) if isinstance(choice, dict) else choice

    def wants(self, included: str) -> bool:
        """Returns whether `include` names this part of the answer."""
        return included in (self.include or ())

    @property
    def added_tools(self) -> list[Tool]:
        """The tools that input items add: Codex sends its own so, and those that a search in the client has found."""
        items = self.input if isinstance(self.input, list) else []
        return [tool for item in items if item.kind in _ADDING_TOOLS for tool in item.tools or ()]


KNOWN_FIELDS = frozenset(ResponsesRequest.model_fields) | unsupported.FIELDS.keys()
"""The fields that the bridge knows."""
