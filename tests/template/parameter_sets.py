"""The sets of parameters with which the template is tested: every interesting value of each parameter, and pairs.

A new parameter with AllowedValues or of the type Number needs nothing here; another one needs an example. `PAIRS` are
the values that are also tried with each other: those that make resources or permissions appear.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from tests.template.cloudformation import Template

ARN = "arn:aws:{}:eu-west-1:123456789012:{}"
# Parameter → values other than the default, where these do not follow from the template.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "AlertTopicArn": (ARN.format("sns", "alerts"),),
    "BedrockGuardrailArn": (ARN.format("bedrock", "guardrail/abc123"),),
    "BedrockModels": ("arn:aws:bedrock:*::foundation-model/a,arn:aws:bedrock:*::foundation-model/b",),
    "ChromaToken": ("a-token",),
    "ChromaUrl": ("https://chroma.example.com",),
    "OpenAiApiKey": ("a-key",),
    "Revision": ("2",),
    "SecretsKeyArn": (ARN.format("kms", "key/11111111-2222-3333-4444-555555555555"),),
    "SecretsPrefix": ("company/bridge",),
    "StageName": ("v1",),
}
# Parameter → the value that is tried together with each of the others.
PAIRS: Mapping[str, str] = {
    "AlertTopicArn": EXAMPLES["AlertTopicArn"][0],
    "BedrockModels": EXAMPLES["BedrockModels"][0],
    "BedrockGuardrailArn": EXAMPLES["BedrockGuardrailArn"][0],
    "SecretsKeyArn": EXAMPLES["SecretsKeyArn"][0],
    "SpendAlarmUsdPerHour": "0",
    "MaxChats": "7",
}

# Parameters that the transform itself reads: it makes another template for each of their values.
READ_BY_TRANSFORM: frozenset[str] = frozenset()


def values_of(name: str, parameter: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the values to try that differ from the default: the examples, the other allowed ones (the first and the
    last of many), or another number.
    """
    default = str(parameter.get("Default", ""))
    if name in EXAMPLES:
        return EXAMPLES[name]
    if "AllowedValues" in parameter:
        others = [value for value in map(str, parameter["AllowedValues"]) if value != default]
        return tuple(others if len(others) <= 4 else (others[0], others[-1]))
    if parameter["Type"] == "Number":
        numbers = (str(parameter.get("MinValue", 0)), str(int(default) + 1))
        return tuple(number for number in numbers if number != default)
    return ()


def single_sets(template: Template) -> Iterator[dict[str, str]]:
    """Yields the defaults, then each value of each parameter with the others at their default."""
    yield {}
    for name, parameter in template.parameters.items():
        for value in values_of(name, parameter):
            yield {name: value}


def pair_sets(template: Template) -> Iterator[dict[str, str]]:
    """Yields each pair of `PAIRS`, and all of them together."""
    known = {name: value for name, value in PAIRS.items() if name in template.parameters}
    for pair in combinations(known.items(), 2):
        yield dict(pair)
    yield known
