"""The field table says of each field of OpenAI's request what the adapters do with it: nothing is dropped silently."""

import subprocess
import sys
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest
import typing_extensions
from openai.types.chat import completion_create_params

from sekha_llm_bridge.api.chat.conversation import conversation_of
from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.chat.routing import provider_request
from sekha_llm_bridge.api.conversations.left_out import fields_left_out
from sekha_llm_bridge.api.conversations.options import Options
from sekha_llm_bridge.api.conversations.routing import route_request
from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.config.models import ProviderType
from sekha_llm_bridge.providers import UNSUPPORTED_FIELDS, ChatCall, capabilities_of
from sekha_llm_bridge.providers.anthropic.request import chat_payload as anthropic_payload
from sekha_llm_bridge.providers.bedrock.request import chat_body as bedrock_payload
from sekha_llm_bridge.providers.field_table import FIELD_TABLE, FieldRow, Handling, handling
from sekha_llm_bridge.providers.ollama.request import chat_payload as ollama_payload
from sekha_llm_bridge.providers.openai.request import chat_payload as openai_payload
from sekha_llm_bridge.providers.openai.vendors import VENDORS
from sekha_llm_bridge.routing import RoutingContext, plan
from tests.fakes.settings import chat_model, make_settings, provider
from tests.unit.providers.field_examples import EXAMPLES, Body

MODELS = {
    "openai": "gpt-x",
    "ollama": "llama",
    "anthropic": "claude-sonnet-4-5",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
OF_THE_BRIDGE = {"model", "stream", "stream_options"}
"""The bridge itself carries these to every format, beside the conversation: the contract suite shows that."""

ROWS = [row for row in FIELD_TABLE if row.name.partition(".")[0] not in OF_THE_BRIDGE]
NAMES_OF_ROLES = {"messages.role", "tool_choice"}  # the fields whose values have a row each


def names_in_sdk(annotation: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields of a type of OpenAI's SDK, and of the types of parts, tools and choices."""
    if typing_extensions.is_typeddict(annotation):
        hints = typing.get_type_hints(annotation)
        yield from (f"{path}.{kind}" for kind in typing.get_args(hints.pop("type", None)))
        for name, inner in hints.items():
            yield f"{path}.{name}" if path else name
            yield from names_in_sdk(inner, f"{path}.{name}" if path else name)
    elif typing.get_origin(annotation) is typing.Literal and path in NAMES_OF_ROLES:
        yield from (f"{path}.{value}" for value in typing.get_args(annotation))
    elif typing.get_origin(annotation) not in {typing.Literal, dict}:
        for inner in typing.get_args(annotation):
            yield from names_in_sdk(inner, path)


def is_covered(path: str, rows: dict[str, FieldRow]) -> bool:
    """Whether the table has a row for a field, or for one around it that no other format carries."""
    if path in rows:
        return True
    around = path.rpartition(".")[0]
    while around and around not in rows:
        around = around.rpartition(".")[0]
    return bool(around) and Handling.CARRIED not in {rows[around].ollama, rows[around].anthropic, rows[around].bedrock}


REQUESTS = [
    completion_create_params.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsStreaming,
]


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda one: one.__name__)
def test_every_field_of_openais_published_request_has_a_row(request_type: Any) -> None:
    rows = {row.name: row for row in FIELD_TABLE}
    published = set(names_in_sdk(request_type))
    assert {"messages.content.input_audio", "tools.custom", "tool_choice.allowed_tools"} <= published
    assert len(published) > 100
    assert sorted(name for name in published if not is_covered(name, rows)) == []


def test_a_new_field_at_any_depth_is_found() -> None:
    class Inner(typing.TypedDict):
        new: str

    class Request(typing.TypedDict):
        tools: Iterable[Inner]
        audio: Inner
        other: str

    rows = {row.name: row for row in FIELD_TABLE}
    missing = [name for name in names_in_sdk(Request) if not is_covered(name, rows)]
    assert missing == ["tools.new", "other"]  # `audio.new` excludes other formats with `audio`


def test_the_table_has_each_field_once_and_each_has_an_example() -> None:
    names = [row.name for row in FIELD_TABLE]
    assert len(names) == len(set(names))
    assert EXAMPLES.keys() == {row.name for row in ROWS}


def test_what_is_left_out_has_a_reason() -> None:
    for row in FIELD_TABLE:
        has_left_out = {Handling.HINT, Handling.NO_MEANING} & {row.ollama, row.anthropic, row.bedrock}
        assert bool(row.remark) == bool(has_left_out), row.name


def test_fields_without_a_feature_are_known_to_the_planner() -> None:
    """It compares only those with a request that some row of a vendor or of the table names."""
    for wire_format in MODELS:
        assert capabilities_of(ProviderType(wire_format)).unsupported_fields <= UNSUPPORTED_FIELDS


def payload_of(wire_format: str, body: Body) -> Any:
    call = ChatCall(MODELS[wire_format], conversation_of(provider_request(body)), None, 8192, max_output_tokens=4096)
    match wire_format:
        case "ollama":
            return ollama_payload(call, stream=False)
        case "anthropic":
            return anthropic_payload(call)
        case "bedrock":
            return bedrock_payload(call)
    return openai_payload(call, VENDORS[ProviderType.OPENAI])


@cache
def bridge_with(wire_format: str) -> Bridge:
    model = chat_model(MODELS[wire_format], supports_audio=True, supports_vision=True, supports_function_calling=True)
    more = {"region": "us-east-1"} if wire_format == "bedrock" else {}
    return make_bridge(make_settings(provider("p", model, provider_type=wire_format, api_key="k", **more)))


def why_excluded(wire_format: str, body: Body) -> str | None:
    """Why the planner excludes the model; None where it does not."""
    bridge, chat = bridge_with(wire_format), ChatRequest.model_validate(body)
    request = route_request(conversation_of(provider_request(body)), Options.of(chat.model, chat), bridge)
    exclusion = plan(request, bridge.catalog, RoutingContext()).considered_models[0].exclusion
    return None if exclusion is None else exclusion.reason


CELLS = [(row, wire_format) for row in ROWS for wire_format in MODELS]


def cells(*kinds: Handling) -> pytest.MarkDecorator:
    chosen = [(row, wire_format) for row, wire_format in CELLS if handling(row, wire_format) in kinds]
    return pytest.mark.parametrize(("row", "wire_format"), chosen, ids=[f"{form}-{row.name}" for row, form in chosen])


@cells(Handling.CARRIED)
def test_a_carried_field_changes_what_is_sent(row: FieldRow, wire_format: str) -> None:
    used, unused = EXAMPLES[row.name]
    assert payload_of(wire_format, used) != payload_of(wire_format, unused)
    assert why_excluded(wire_format, used) is None
    assert fields_left_out(conversation_of(provider_request(used)), capabilities_of(ProviderType(wire_format))) == []


@cells(Handling.NO_MEANING)
def test_a_field_without_meaning_changes_nothing_and_is_not_noted(row: FieldRow, wire_format: str) -> None:
    used, unused = EXAMPLES[row.name]
    assert used != unused
    assert payload_of(wire_format, used) == payload_of(wire_format, unused)
    assert why_excluded(wire_format, used) is None
    assert fields_left_out(conversation_of(provider_request(used)), capabilities_of(ProviderType(wire_format))) == []


@cells(Handling.HINT)
def test_a_hint_changes_nothing_and_is_noted(row: FieldRow, wire_format: str) -> None:
    used, unused = EXAMPLES[row.name]
    assert payload_of(wire_format, used) == payload_of(wire_format, unused)
    assert why_excluded(wire_format, used) is None
    capabilities = capabilities_of(ProviderType(wire_format))
    assert fields_left_out(conversation_of(provider_request(used)), capabilities) == [row.name]
    assert fields_left_out(conversation_of(provider_request(unused)), capabilities) == []


@cells(Handling.EXCLUDES)
def test_a_field_that_cannot_be_carried_excludes_the_model_with_a_reason(row: FieldRow, wire_format: str) -> None:
    reason = why_excluded(wire_format, EXAMPLES[row.name].used)
    assert reason is not None
    assert (row.name if row.feature is None else row.feature.value) in reason


@pytest.mark.parametrize("wire_format", ["ollama", "anthropic", "bedrock"])
@pytest.mark.parametrize(
    "fields",
    [{"modalities": ["text"]}, {"verbosity": "medium"}, {"presence_penalty": 0, "frequency_penalty": 0.0, "n": 1}],
    ids=str,
)
def test_a_default_value_excludes_no_model_and_is_not_noted(wire_format: str, fields: Body) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    assert why_excluded(wire_format, body) is None
    assert fields_left_out(conversation_of(provider_request(body)), capabilities_of(ProviderType(wire_format))) == []


def test_the_name_of_a_tool_is_not_a_participants() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    results = [{"role": "tool", "tool_call_id": "c", "name": name, "content": "r"} for name in ("f", "g")]
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call]}, *results]
    body = {"messages": messages}
    assert why_excluded("anthropic", body) is None
    assert fields_left_out(conversation_of(body), capabilities_of(ProviderType.ANTHROPIC)) == []


def test_a_configuration_of_openais_format_alone_does_not_load_the_table() -> None:
    code = (
        "import sys\n"
        "import sekha_llm_bridge.api.chat.endpoint\n"
        "from sekha_llm_bridge.config.models import ProviderType\n"
        "from sekha_llm_bridge.providers import capabilities_of\n"
        "capabilities_of(ProviderType.OPENAI)\n"
        "name = 'sekha_llm_bridge.providers.field_table'\n"
        "print(name in sys.modules)\n"
        "capabilities_of(ProviderType.OLLAMA)\n"
        "print(name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
