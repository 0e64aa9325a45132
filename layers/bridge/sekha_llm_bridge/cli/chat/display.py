"""Prints an answer as it arrives, and on standard error what it was and cost."""

import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal

from sekha_llm_bridge import ChatReply
from sekha_llm_bridge.cli.health.printable import printable

_CONTROL_CHARACTERS: Mapping[int, str] = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "?"),
    ord("\n"): "\n",
    ord("\t"): "\t",
    ord("\r"): "",
}


class AnswerWriter:
    """Writes the texts of one answer to standard output: unchanged to a pipe; without control characters, which would
    be executed, to a terminal.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._last = "\n"

    def write(self, text: str) -> None:
        """Writes a text at once."""
        if text:
            sys.stdout.write(text.translate(_CONTROL_CHARACTERS) if self._is_terminal else text)
            sys.stdout.flush()
            self._last = text[-1]

    def end(self) -> None:
        """Ends the last line, if the answer has not done so."""
        if self._last != "\n":
            self.write("\n")


def print_summary(reply: ChatReply) -> None:
    """Prints the model, provider and cost of a reply on standard error, and what the bridge remarks on it."""
    sys.stderr.write("".join(f"{printable(line)}\n" for line in summary_lines(reply)))
    sys.stderr.flush()


def summary_lines(reply: ChatReply) -> Iterator[str]:
    """Yields the lines of the summary."""
    provider = f", provider {reply.provider_id}" if reply.provider_id else ""
    usage = reply.usage
    tokens = (
        f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens{' (estimated)' if usage.is_estimated else ''}"
    )
    yield f"model {reply.model}{provider}, {cost_text(reply.cost)}, {tokens}"
    for call in reply.tool_calls:
        yield f"the model calls {call.name}({call.arguments})"
    if reply.finish_reason == "length":
        yield "the answer is cut off: it reached the limit of output tokens"
    for note in reply.bridge.get("notes") or ():
        yield f"note: {note}"


def cost_text(usd: Decimal | None) -> str:
    """Returns a cost in words."""
    return "cost not known" if usd is None else f"cost ${usd.normalize():f}"
