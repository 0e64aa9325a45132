"""A conversation on a terminal: each line is a message, and the model receives all of them."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from sekha_llm_bridge import BridgeError, ChatReply
from sekha_llm_bridge.cli.bridge_client import DONE, report

PROMPT = "> "
NEW = "/new"
_HINT = f"Ctrl-D ends the conversation, {NEW} starts another one"

Message = dict[str, Any]


class AnswerInterrupted(KeyboardInterrupt):
    """Ctrl-C ended an answer, of which `text` had arrived."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def converse(ask: Callable[[Sequence[Any]], ChatReply], first_message: Callable[[str], Message]) -> int:
    """Reads lines and prints answers until the end of the input. Returns the exit code of the last answer.

    `ask` prints the answer to all messages so far. A message without an answer is left out of the next ones.
    """
    _enable_line_editing()
    sys.stderr.write(f"{_HINT}\n")
    messages: list[Any] = []
    code = DONE
    while (line := _read_line()) is not None:
        command = line.split(maxsplit=1)[0].lower() if line.strip() else ""
        if command == NEW:
            messages.clear()
        elif command.startswith("/") and command[1:].isalpha():
            sys.stderr.write(f"{command} is no command; {_HINT}; a message may begin with two slashes\n")
        elif command:
            text = line.removeprefix("/") if line.startswith("//") else line
            message = {"role": "user", "content": text} if messages else first_message(text)
            code = _exchange(ask, messages, message)
    return code


def _exchange(ask: Callable[[Sequence[Any]], ChatReply], messages: list[Any], message: Message) -> int:
    """Asks, and adds the message and what was answered to the messages. Returns the exit code of the answer."""
    try:
        messages += [message, ask([*messages, message]).message]
    except AnswerInterrupted as exc:
        sys.stderr.write("interrupted\n")
        if exc.text:
            messages += [message, {"role": "assistant", "content": exc.text}]
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
    except BridgeError as exc:
        return report(exc)
    return DONE


def _read_line() -> str | None:
    """Returns the next line; None at the end of the input."""
    while True:
        try:
            return _input()
        except EOFError:
            sys.stderr.write("\n")
            return None
        except KeyboardInterrupt:
            sys.stderr.write(f"\n{_HINT}\n")
        except UnicodeDecodeError:
            sys.stderr.write("the line is not text in the terminal's encoding\n")


def _input() -> str:
    if sys.stdout.isatty():
        return input(PROMPT)
    sys.stderr.write(PROMPT)
    sys.stderr.flush()
    return input()


def _enable_line_editing() -> None:
    """Lets `input` edit lines and find earlier ones, where Python has readline. Nothing is written to a file."""
    with suppress(ImportError):
        import readline  # noqa: F401 — importing it is what changes `input`
