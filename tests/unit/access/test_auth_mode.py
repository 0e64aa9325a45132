"""When a bridge needs API keys: it is open only where that was chosen."""

import pytest

from sekha_llm_bridge.access.auth_mode import needs_keys
from tests.fakes.functions import _load


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in ("AUTH_MODE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_SAM_LOCAL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


FUNCTION = {"AWS_LAMBDA_FUNCTION_NAME": "chat"}
SAM_LOCAL = {**FUNCTION, "AWS_SAM_LOCAL": "true"}


@pytest.mark.parametrize(
    ("variables", "needed"),
    [
        ({"AUTH_MODE": "keys"}, True),
        ({"AUTH_MODE": "none"}, False),
        ({}, False),
        (FUNCTION, True),
        ({**FUNCTION, "AUTH_MODE": "none"}, False),
        (SAM_LOCAL, False),
        ({**SAM_LOCAL, "AUTH_MODE": "keys"}, False),
    ],
)
def test_a_function_is_open_only_with_mode_none_or_in_sam_local(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, needed: bool
) -> None:
    set_all(monkeypatch, variables)
    assert needs_keys() is needed


@pytest.mark.parametrize("mode", ["", "Keys", "None", "key", "off", " none"])
@pytest.mark.parametrize("function", ["authorizer", "chat_completions", "health"])
def test_with_another_mode_the_function_does_not_start(
    monkeypatch: pytest.MonkeyPatch, function: str, mode: str
) -> None:
    set_all(monkeypatch, {**FUNCTION, "AUTH_MODE": mode})
    with pytest.raises(ValueError, match="AUTH_MODE is keys or none"):
        _load(function)
