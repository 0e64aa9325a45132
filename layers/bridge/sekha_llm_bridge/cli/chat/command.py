"""The `chat` command: one message and its answer, or a conversation."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge import BridgeError, ChatReply, InvalidRequest, LlmBridge, image_message
from sekha_llm_bridge.cli.bridge_client import DONE, INTERRUPTED, WRONG_ARGUMENT, open_bridge, report
from sekha_llm_bridge.cli.bridge_options import NoSingleBridge
from sekha_llm_bridge.cli.chat.conversation import AnswerInterrupted, converse
from sekha_llm_bridge.cli.chat.display import AnswerWriter, print_summary

_URL_STARTS = ("http://", "https://", "data:")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command. `message`: None to read standard input."""

    message: str | None
    images: tuple[str, ...]
    model: str | None
    preferred_model: str | None
    max_cost: str | None
    task: str | None
    system: str | None
    is_streamed: bool
    as_json: bool

    def fields(self) -> dict[str, Any]:
        """Returns the arguments for `LlmBridge.chat`, without the messages."""
        names = ("model", "preferred_model", "max_cost", "task", "system")
        return {name: getattr(self, name) for name in names}


def run(url: str | None, api_key: str | None, options: Options) -> int:
    """Asks, and prints the answer. Returns the exit code."""
    is_conversation = options.message is None and sys.stdin.isatty()
    if is_conversation and options.as_json:
        return _wrong("--json needs a message, as an argument or on standard input")
    try:
        message = user_message("" if is_conversation else _text(options), options.images)
        with open_bridge(url, api_key) as bridge:
            if is_conversation:
                return converse(
                    lambda messages: _answer(bridge, messages, options),
                    lambda line: user_message(line, options.images),
                )
            _answer(bridge, [message], options)
    except InvalidArgument as exc:
        return _wrong(str(exc))
    except (BridgeError, NoSingleBridge) as exc:
        return report(exc)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    return DONE


class InvalidArgument(Exception):
    """The message or an image cannot be sent. The message says why."""


def user_message(text: str, images: tuple[str, ...]) -> dict[str, Any]:
    """Returns the user's message, with the images, which are files or URLs. Raises `InvalidArgument`."""
    if not images:
        return {"role": "user", "content": text}
    urls = [image for image in images if image.startswith(_URL_STARTS)]
    paths = [image for image in images if not image.startswith(_URL_STARTS)]
    try:
        return image_message(text, urls, image_path=paths)
    except InvalidRequest as exc:
        raise InvalidArgument(f"--image: {exc}") from exc


def _text(options: Options) -> str:
    """Returns the message: the argument, else standard input. Raises `InvalidArgument`."""
    if options.message is not None:
        text = options.message
    else:
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise InvalidArgument("standard input is not text in UTF-8") from exc
    if not text.strip():
        raise InvalidArgument("there is no message: give one as an argument or on standard input")
    return text


def _answer(bridge: LlmBridge, messages: Sequence[Any], options: Options) -> ChatReply:
    """Asks, and prints the answer. Raises `BridgeError`, after what has arrived was printed."""
    if not options.is_streamed:
        reply = bridge.chat(messages, **options.fields())
        _print_whole(reply, as_json=options.as_json)
        return reply
    writer = AnswerWriter()
    with bridge.stream(messages, **options.fields()) as stream:
        try:
            for text in stream:
                writer.write(text)
        except KeyboardInterrupt:
            raise AnswerInterrupted(stream.text) from None
        finally:
            writer.end()
    print_summary(stream.reply)
    return stream.reply


def _print_whole(reply: ChatReply, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(reply.raw, separators=(",", ":")) + "\n")
        return
    writer = AnswerWriter()
    writer.write(reply.text)
    writer.end()
    print_summary(reply)


def _wrong(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return WRONG_ARGUMENT
