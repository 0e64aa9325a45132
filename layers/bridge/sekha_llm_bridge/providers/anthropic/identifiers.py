"""The ids of tool calls, in the letters that Anthropic takes: `^[a-zA-Z0-9_-]+$`."""

import hashlib
import re

_VALID = r"[a-zA-Z0-9_-]+"


class CallIds:
    """Maps the ids of calls and of their results, which may have come from any vendor.

    A valid id stays as it is, another one becomes the same valid id each time. A call without an id gets its number; so
    does a result without one: the first belongs to the first call without an id.
    """

    def __init__(self) -> None:
        self._n_calls = 0
        self._n_results = 0

    def of_call(self, call_id: str | None) -> str:
        """Returns the id of the next call."""
        if call_id:
            return _valid(call_id)
        self._n_calls += 1
        return f"call_without_id_{self._n_calls}"

    def of_result(self, call_id: str | None) -> str:
        """Returns the id of the call of the next result."""
        if call_id:
            return _valid(call_id)
        self._n_results += 1
        return f"call_without_id_{self._n_results}"


def _valid(call_id: str) -> str:
    if re.fullmatch(_VALID, call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"
