"""No configured secret reaches a caller, whatever a provider echoes, and classification never raises."""

import base64
import json
from datetime import UTC, datetime
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from sekha_llm_bridge.providers.failures import caller_text, error_from_answer
from sekha_llm_bridge.providers.secret_mask import SecretMask

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRETS = ("sk-live-0123456789", "plain words as a key", 'odd/key+"with"=signs', "Bearer header-secret-1")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=30)
    | st.sampled_from(["message", "error", "{'a': 1}"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "detail", "message", "msg", "code", "type", "param", "metadata", "loc"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def classified(status: int, body: bytes, retry_after: str | None = None) -> object:
    return error_from_answer(status, body, header=lambda _: retry_after, request={"messages": [], "tools": []}, now=NOW)


@given(st.integers(400, 599), JSON, st.text(max_size=20))
def test_any_json_is_classified(status: int, value: object, header: str) -> None:
    classified(status, json.dumps(value).encode(), header)


@given(st.integers(400, 599), st.binary(max_size=300))
def test_any_bytes_are_classified(status: int, body: bytes) -> None:
    classified(status, body)


@given(
    st.sampled_from(SECRETS),
    st.text(max_size=40),
    st.text(max_size=40),
    st.sampled_from([str, str.upper, lambda one: quote(one, safe=""), lambda one: json.dumps(one)[1:-1]]),
    st.integers(0, 2_100),
)
def test_a_secret_is_masked_wherever_it_stands(secret: str, before: str, after: str, form: object, at: int) -> None:
    quoted = form(secret)  # type: ignore[operator]  # one of the functions above
    shown = caller_text(f"{'é' * at} {before}{quoted}{after}", SecretMask(SECRETS)).lower()
    assert secret.lower() not in shown
    assert quoted.lower() not in shown or quoted.lower() == secret.lower()
    assert secret.split()[-1].lower() not in shown or " " in secret.removeprefix("Bearer ")


@given(st.sampled_from(SECRETS), st.binary(max_size=20), st.binary(max_size=20))
def test_a_secret_inside_base64_is_masked(secret: str, before: bytes, after: bytes) -> None:
    shown = caller_text(base64.b64encode(before + secret.encode() + after).decode(), SecretMask(SECRETS))
    inner = base64.b64encode(secret.encode()).decode()[:-4]
    assert inner not in shown
