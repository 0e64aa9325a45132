"""The ids of tool calls in Ollama's messages, where a result may name its call only by the function.

Providers of other formats need an id for each call, and the same one for its result. The ids are the same in every
request of a conversation, so that a provider's cache of the prompt is of use.
"""

from collections import deque
from enum import Enum
from typing import NamedTuple

from sekha_llm_bridge.api.ollama.request import ChatMessage


class _By(Enum):
    ID = "id"
    NAME = "name"
    ORDER = "order"


class _Key(NamedTuple):
    by: _By
    value: str = ""


class CallIds:
    """Gives ids to the calls of one conversation and finds those of the results, in the order of the messages.

    Calls without an id, or with the id of an earlier one, get one of nine letters and digits, which is what the
    strictest provider takes (Mistral). A result belongs to a call that has none yet: the one of its `tool_call_id`,
    else the first of its function, or simply the first where it names none; in the latest message that has such a call.
    """

    def __init__(self) -> None:
        self._n_invented = 0
        self._used: set[str] = set()
        self._answered: set[str] = set()
        self._waiting: dict[_Key, list[deque[str]]] = {}  # the ids of the calls of each message that has such ones

    def of_calls(self, message: ChatMessage) -> list[str]:
        """Returns the ids of a message's calls, in order."""
        ids: list[str] = []
        of_message: dict[_Key, deque[str]] = {}
        for call in message.tool_calls or ():
            ids.append(self._new_id(call.id))
            for key in (_Key(_By.ID, call.id or ""), _Key(_By.NAME, call.function.name), _Key(_By.ORDER)):
                of_message.setdefault(key, deque()).append(ids[-1])
        for key, some in of_message.items():
            self._waiting.setdefault(key, []).append(some)
        return ids

    def of_result(self, message: ChatMessage) -> str:
        """Returns the id of the call of a result; another one where there is no such call."""
        sent, name = message.tool_call_id, message.tool_name
        found = self._next(_Key(_By.ID, sent)) if sent else None
        found = found or self._next(_Key(_By.NAME, name) if name else _Key(_By.ORDER))
        return found or self._new_id(sent)

    def _next(self, key: _Key) -> str | None:
        """Returns the first call without a result in the latest message that has one, and marks it as answered."""
        messages = self._waiting.get(key, [])
        while messages:
            if not messages[-1]:
                messages.pop()
            elif (call_id := messages[-1].popleft()) not in self._answered:
                self._answered.add(call_id)
                return call_id
        return None

    def _new_id(self, sent: str | None) -> str:
        call_id = sent
        while not call_id or call_id in self._used:
            self._n_invented += 1
            call_id = f"call{self._n_invented:05d}"
        self._used.add(call_id)
        return call_id
