"""What ten turns of an agent cost, with and without prompt caching, by the receipts of the bridge.

The figures are in the README. The agent has tools and a system prompt of 5,000 tokens; each turn adds a call and its
result. The provider is a fake one that accounts for its cache by Anthropic's rules; the prices are those of Claude
Sonnet 4.5: $3 for a million tokens of input, $3.75 written to the cache, $0.30 read from it, $15 of output.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sekha_llm_bridge.bootstrap import make_bridge
from tests.fakes.anthropic_cache import BYTES_PER_TOKEN, CachingAnthropic, prefix_tokens, prompt_tokens
from tests.fakes.clock import FakeClock
from tests.fakes.functions import Function
from tests.fakes.settings import chat_model, make_settings, provider

README = Path(__file__).parents[4] / "README.md"
PRICING = {"input_usd_per_mtok": 3, "output_usd_per_mtok": 15, "cached_input_usd_per_mtok": 0.3}
PREFIX_TOKENS, RESULT_TOKENS, TURNS = 5_000, 300, 10
TOOLS: list[dict[str, Any]] = [
    {
        "name": name,
        "description": f"{name} a file of the project. " * 40,
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
    for name in ("read", "edit", "search")
]
SENTENCE = "Read the file before you change it, and run its tests afterwards. "
TASK = "Find out why the build fails, and mend it."


def rules() -> str:
    """A system prompt with which the tools have `PREFIX_TOKENS` tokens."""
    missing = PREFIX_TOKENS - prefix_tokens({"tools": TOOLS, "system": "x"})
    text = (SENTENCE * PREFIX_TOKENS)[: missing * BYTES_PER_TOKEN]
    while prefix_tokens({"tools": TOOLS, "system": text}) < PREFIX_TOKENS:
        text += "."
    return text


RULES = rules()
OUTPUT_OF_TOOL = (SENTENCE * RESULT_TOKENS)[: RESULT_TOKENS * BYTES_PER_TOKEN]


@pytest.fixture
def claude() -> Iterator[CachingAnthropic]:
    with CachingAnthropic() as running:
        yield running


def bridge_function(name: str, claude: CachingAnthropic, prompt_cache: str, clock: FakeClock | None = None) -> Function:
    model = chat_model("claude-sonnet-4-5", context_window=200_000, max_output_tokens=4096, price=None, pricing=PRICING)
    section = provider("claude", model, provider_type="anthropic", base_url=claude.url, prompt_cache=prompt_cache)
    return Function(name, make_bridge(make_settings(section), clock=clock))


def _as_openais(tool: dict[str, Any]) -> dict[str, Any]:
    """The same tool in OpenAI's form."""
    function = {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]}
    return {"type": "function", "function": function}


Turns = list[dict[str, Any]]


def chat_turns(function: Function) -> Turns:
    """The receipts of an agent that speaks chat completions."""
    tools = list(map(_as_openais, TOOLS))
    messages: list[dict[str, Any]] = [{"role": "system", "content": RULES}, {"role": "user", "content": TASK}]
    receipts = []
    for _ in range(TURNS):
        answer = function("POST", "/v1/chat/completions", {"messages": messages, "tools": tools}).json()
        message = answer["choices"][0]["message"]
        (call,) = message["tool_calls"]
        messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": OUTPUT_OF_TOOL}]
        receipts.append({**answer["bridge"], "usage": answer["usage"]})
    return receipts


def messages_turns(function: Function, *, marks: bool = False) -> Turns:
    """The receipts of an agent that speaks Anthropic's Messages; with `marks`, it marks its tools and system prompt, and
    the last message of each turn, as coding agents do.
    """
    mark = {"cache_control": {"type": "ephemeral"}} if marks else {}
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": TASK}]}]
    receipts = []
    for _ in range(TURNS):
        *earlier, last = messages
        marked = {**last, "content": [*last["content"][:-1], {**last["content"][-1], **mark}]}
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 4096,
            "system": [{"type": "text", "text": RULES, **mark}],
            "tools": TOOLS,
            "messages": [*earlier, marked],
        }
        answer = function("POST", "/v1/messages", body).json()
        (call,) = answer["content"]
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": OUTPUT_OF_TOOL}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        receipts.append({**answer["bridge"], "usage": answer["usage"]})
    return receipts


def cost(receipts: Turns) -> Decimal:
    """The sum of the receipts, in USD."""
    return sum((Decimal(str(receipt["cost"])) for receipt in receipts), Decimal(0))


def test_ten_turns_cost_less_with_the_bridges_mark_and_least_with_the_agents_own_as_the_readme_says() -> None:
    ways: dict[str, Callable[[CachingAnthropic], Turns]] = {
        "`prompt_cache: off`": lambda claude: chat_turns(bridge_function("chat_completions", claude, "off")),
        "`prompt_cache: auto`": lambda claude: chat_turns(bridge_function("chat_completions", claude, "auto")),
        "an agent that marks every turn itself": lambda claude: messages_turns(
            bridge_function("messages", claude, "off"), marks=True
        ),
    }
    costs = {}
    for way, turns in ways.items():
        with CachingAnthropic() as claude:
            receipts = turns(claude)
        costs[way] = cost(receipts)
        assert all(receipt["cost"] <= receipt["cost_bound"] for receipt in receipts)
    off, auto, own = costs.values()
    assert off > auto > own
    rows = [f"| {way} | ${usd:.4f} | {round(100 - 100 * usd / off)} % less |" for way, usd in costs.items()]
    readme = README.read_text(encoding="utf-8")
    assert [row for row in rows if row not in readme] == []


def test_the_figures_are_those_of_anthropics_prices_to_the_last_token(claude: CachingAnthropic) -> None:
    off = chat_turns(bridge_function("chat_completions", claude, "off"))
    auto = chat_turns(bridge_function("chat_completions", claude, "auto"))
    prompts = [receipt["usage"]["prompt_tokens"] for receipt in off]
    assert [receipt["usage"]["prompt_tokens"] for receipt in auto] == prompts
    output_usd = TURNS * 100 * Decimal(15)
    assert cost(off) == (sum(prompts) * Decimal(3) + output_usd) / 1_000_000
    outside = sum(prompts) - TURNS * PREFIX_TOKENS
    read = (TURNS - 1) * PREFIX_TOKENS
    cached_usd = PREFIX_TOKENS * Decimal("3.75") + read * Decimal("0.3") + outside * Decimal(3)
    assert cost(auto) == (cached_usd + output_usd) / 1_000_000


def test_each_receipt_says_what_was_read_from_the_cache_and_written_to_it(claude: CachingAnthropic) -> None:
    details = [
        receipt["usage"]["prompt_tokens_details"]
        for receipt in chat_turns(bridge_function("chat_completions", claude, "auto"))
    ]
    assert details[0] == {"cached_tokens": 0, "cache_write_tokens": PREFIX_TOKENS}
    assert details[1:] == [{"cached_tokens": PREFIX_TOKENS, "cache_write_tokens": 0}] * (TURNS - 1)


def test_a_messages_request_is_marked_as_well_and_is_otherwise_sent_as_it_came(claude: CachingAnthropic) -> None:
    receipts = messages_turns(bridge_function("messages", claude, "auto"))
    assert [receipt["usage"]["cache_read_input_tokens"] for receipt in receipts] == [0, *[PREFIX_TOKENS] * (TURNS - 1)]
    sent = claude.received[-1].body
    assert sent["system"] == [{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}}]
    assert sent["tools"] == TOOLS
    assert str(sent).count("cache_control") == 1


def test_an_agent_with_marks_of_its_own_is_sent_them_alone(claude: CachingAnthropic) -> None:
    receipts = messages_turns(bridge_function("messages", claude, "auto"), marks=True)
    assert str(claude.received[-1].body).count("cache_control") == 2
    assert cost(receipts) < cost(messages_turns(bridge_function("messages", claude, "auto")))


@pytest.mark.parametrize("name", ["chat_completions", "messages"])
def test_a_limit_holds_with_a_prompt_that_is_kept_for_an_hour_and_the_receipt_has_its_price(
    claude: CachingAnthropic, name: str
) -> None:
    part = {"type": "text", "text": RULES, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    asked = {"role": "user", "content": TASK}
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "chat_completions": (
            "/v1/chat/completions",
            {"messages": [{"role": "system", "content": [part]}, asked], "tools": list(map(_as_openais, TOOLS))},
        ),
        "messages": (
            "/v1/messages",
            {"model": "claude-sonnet-4-5", "max_tokens": 500, "system": [part], "messages": [asked], "tools": TOOLS},
        ),
    }
    path, body = requests[name]
    function = bridge_function(name, claude, "off")
    first, second = (function("POST", path, {**body, "max_cost": 0.3}).json()["bridge"] for _ in range(2))
    (sent, _) = claude.received
    outside = prompt_tokens(sent.body) - PREFIX_TOKENS
    others_usd = outside * Decimal(3) + 100 * Decimal(15)
    assert Decimal(str(first["cost"])) == (PREFIX_TOKENS * Decimal(6) + others_usd) / 1_000_000
    assert Decimal(str(second["cost"])) == (PREFIX_TOKENS * Decimal("0.3") + others_usd) / 1_000_000
    refused = function("POST", path, {**body, "max_cost": 0.03})  # the prompt alone may cost more
    assert refused.status == 402
    assert len(claude.received) == 2
