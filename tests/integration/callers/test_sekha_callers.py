"""The calls of the published Sekha programs, sent as they send them to a running bridge; the answers are read as they
read them.
"""

import json
import re
from typing import Any

import httpx
import pytest

from local_stack.testing import RunningStack
from tests.corpus.caller_calls import Call, Caller, all_callers
from tests.corpus.read_types import unreadable, values_at

pytestmark = pytest.mark.stack
_TOLD = re.compile(r"\{\{(.+)\.([a-z_]+)\}\}")
CELLS = [
    pytest.param(caller, call, id=f"{caller.name}-{call.name}") for caller in all_callers() for call in caller.calls
]


@pytest.mark.parametrize(("caller", "call"), CELLS)
def test_a_caller_reads_the_answer_of_its_call(stack: RunningStack, caller: Caller, call: Call) -> None:
    """A call that is known to fail must still fail, so that the table stays true."""
    problems = problems_of(stack, caller, call)
    assert bool(problems) == bool(call.fails), problems or "the call works; remove `fails`"


def problems_of(stack: RunningStack, caller: Caller, call: Call) -> list[str]:
    answer = send(stack, caller, call)
    if answer.status_code != call.status:
        return [f"the status is {answer.status_code}, not {call.status}: {answer.text[:300]}"]
    if call.stream is not None:
        return stream_problems(answer, call)
    try:
        return unreadable(answer.json() if call.reads else None, call.reads)
    except ValueError:
        return [f"no JSON: {answer.text[:80]}"]


def stream_problems(answer: httpx.Response, call: Call) -> list[str]:
    """Reads a stream as line-based callers do: what is not JSON after the prefix is passed over."""
    assert call.stream is not None
    prefix = call.stream.data_prefix
    data = [line.removeprefix(prefix) for line in answer.text.split("\n") if line.startswith(prefix)]
    if data[-1:] != ["[DONE]"]:
        return [f"the stream has no [DONE] at its end: {data[-1:]}"]
    chunks = [json.loads(one) for one in data[:-1]]
    pieces = [piece for chunk in chunks for piece in values_at(chunk, "choices[0].delta.content")]
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    wrong = [] if text == call.stream.text else [f"the text is {text!r}"]
    return wrong + [problem for chunk in chunks for problem in unreadable(chunk, call.stream.reads)]


def send(stack: RunningStack, caller: Caller, call: Call) -> httpx.Response:
    """Sends a call, after those whose answers its body needs."""
    with httpx.Client(base_url=stack.base_url, timeout=60, follow_redirects=call.follows_redirects) as client:
        return client.request(call.method, call.path, headers=call.headers, json=with_told(call.body, stack, caller))


def with_told(body: Any, stack: RunningStack, caller: Caller) -> Any:
    """Returns the body with `{{call.field}}` replaced by that field of the other call's answer."""
    if isinstance(body, dict):
        return {key: with_told(value, stack, caller) for key, value in body.items()}
    if not isinstance(body, str) or not (told := _TOLD.fullmatch(body)):
        return body
    other = next(one for one in caller.calls if one.name == told[1])
    return send(stack, caller, other).json()[told[2]]
