"""The ids of tool calls in Ollama's messages, where a result may name its call only by the function.

Providers of other formats need an id for each call, and the same one for its result. The ids are the same in every
request of a conversation, so that a provider's cache of the prompt is of use.
"""

from typing import NamedTuple

from sekha_llm_bridge.api.ollama.request import ChatMessage


class _Call(NamedTuple):
    call_id: str
    sent_id: str | None
    name: str


class CallIds:
    """Gives ids to the calls of one conversation and finds those of the results, in the order of the messages.

    Calls without an id, or with the id of an earlier one, get one of nine letters and digits, which is what the
    strictest provider takes (Mistral). A result belongs to a call that has none yet: the one of its `tool_call_id`,
    else the first of its function, else the first; in the latest message that has such a call.
    """

    def __init__(self) -> None:
        self._n_invented = 0
        self._used: set[str] = set()
        self._unanswered: list[list[_Call]] = []  # of each message with calls

    def of_calls(self, message: ChatMessage) -> list[str]:
        """Returns the ids of a message's calls, in order."""
        calls = [_Call(self._new_id(call.id), call.id, call.function.name) for call in message.tool_calls or ()]
        self._unanswered.append(list(calls))
        return [call.call_id for call in calls]

    def of_result(self, message: ChatMessage) -> str:
        """Returns the id of the call of a result; another one where there is no such call."""
        sent, name = message.tool_call_id, message.tool_name
        found = self._pop(sent_id=sent) if sent else None
        found = found or self._pop(name=name)
        return found or self._new_id(sent)

    def _pop(self, *, sent_id: str | None = None, name: str | None = None) -> str | None:
        """Removes and returns the call with this id and function, as far as they are given."""
        for calls in reversed(self._unanswered):
            for position, call in enumerate(calls):
                if sent_id in {None, call.sent_id} and name in {None, "", call.name}:
                    return calls.pop(position).call_id
        return None

    def _new_id(self, sent: str | None) -> str:
        call_id = sent
        while not call_id or call_id in self._used:
            self._n_invented += 1
            call_id = f"call{self._n_invented:05d}"
        self._used.add(call_id)
        return call_id
