"""`sekha-bridge chat`, run as a user types it, against a server on loopback."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sekha_llm_bridge.cli.app import app
from tests.fakes.images import png
from tests.fakes.provider import FakeProvider, Reply, Stream, chat_completion, chunk, sse
from tests.fakes.raw_server import RawServer, http
from tests.fakes.servers import free_port

PATH = "/v1/chat/completions"
KEY = "sk-hunter2"
BRIDGE = {"provider_id": "paid", "cost": 0.00012, "notes": ["something is left out"]}
START, STOP, DONE = chunk({"role": "assistant", "content": ""}), chunk({}, finish="stop"), b"data: [DONE]\n\n"
SUMMARY = "model gpt, provider paid, cost $0.00012, 11 + 7 tokens\nnote: something is left out\n"


@pytest.fixture(autouse=True)
def _no_bridge_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEKHA_BRIDGE_URL", "SEKHA_BRIDGE_API_KEY", "FORCE_COLOR", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bridge() -> Iterator[FakeProvider]:
    """A server that answers as a bridge does."""
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    last = sse({"model": "gpt", "choices": [], "usage": usage, "bridge": BRIDGE})
    parts = [START, chunk({"content": "Hel"}), chunk({"content": "lo."}), STOP, last, DONE]
    with FakeProvider() as fake:
        fake.always(PATH, Reply(stream=Stream(parts)))
        yield fake


def run(*arguments: str, stdin: str | bytes | None = None, **environ: str) -> Any:
    return CliRunner(env=environ).invoke(app, ["chat", *arguments], input=stdin)


def ask(bridge: FakeProvider, *arguments: str, **environ: str) -> Any:
    return run("Hi", "--url", bridge.url, *arguments, **environ)


def not_streamed(bridge: FakeProvider) -> None:
    bridge.always(PATH, Reply(body={**chat_completion("Hello.", model="gpt"), "bridge": BRIDGE}))


def test_the_answer_is_on_standard_output_and_what_it_cost_on_standard_error(bridge: FakeProvider) -> None:
    answer = ask(bridge)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "Hello.\n", SUMMARY)
    assert bridge.received[0].body["stream"] is True
    assert bridge.received[0].body["messages"] == [{"role": "user", "content": "Hi"}]


def test_without_streaming_the_output_is_the_same(bridge: FakeProvider) -> None:
    not_streamed(bridge)
    answer = ask(bridge, "--no-stream")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "Hello.\n", SUMMARY)
    assert "stream" not in bridge.received[0].body


def test_json_is_the_whole_answer_on_one_line_and_nothing_else(bridge: FakeProvider) -> None:
    not_streamed(bridge)
    answer = ask(bridge, "--json")
    assert (answer.exit_code, answer.stderr, answer.stdout.count("\n")) == (0, "", 1)
    assert json.loads(answer.stdout)["bridge"] == BRIDGE


@pytest.mark.parametrize("stdin", ["Grüße\nan alle\n", "\ufeffGrüße\nan alle\n".encode()])
def test_the_message_may_come_from_standard_input(bridge: FakeProvider, stdin: str | bytes) -> None:
    assert run("--url", bridge.url, stdin=stdin).exit_code == 0
    assert bridge.received[0].body["messages"][0]["content"] == "Grüße\nan alle\n"


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [("", "there is no message"), (" \n", "there is no message"), (b"\xff\xfe", "not text in UTF-8")],
)
def test_no_message_is_a_wrong_argument(bridge: FakeProvider, stdin: str | bytes, reason: str) -> None:
    answer = run("--url", bridge.url, stdin=stdin)
    assert (answer.exit_code, answer.stdout, bridge.received) == (2, "", [])
    assert reason in answer.stderr


def test_options_become_fields_of_the_request(bridge: FakeProvider) -> None:
    options = {"--model": "m", "--preferred-model": "p", "--max-cost": "0.010", "--task": "chat_smart", "--system": "s"}
    assert ask(bridge, *[word for pair in options.items() for word in pair]).exit_code == 0
    body = bridge.received[0].body
    assert (body["model"], body["preferred_model"], body["max_cost"], body["task"]) == ("m", "p", "0.010", "chat_smart")
    assert body["messages"][0] == {"role": "system", "content": "s"}


@pytest.mark.parametrize("amount", ["a lot", "-1", "nan", "inf", ""])
def test_a_cost_limit_that_is_no_amount_is_a_wrong_argument(bridge: FakeProvider, amount: str) -> None:
    answer = ask(bridge, "--max-cost", amount)
    assert (answer.exit_code, bridge.received) == (2, [])
    assert "is not an amount in USD" in answer.stderr


def test_images_are_files_or_urls(bridge: FakeProvider, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(png())
    assert ask(bridge, "--image", str(file), "--image", "https://example.com/a.jpg").exit_code == 0
    text, first, second = bridge.received[0].body["messages"][0]["content"]
    assert text["text"] == "Hi"
    assert first["image_url"]["url"] == "https://example.com/a.jpg"
    assert second["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("content", [None, b"no image"])
def test_an_image_that_is_none_is_a_wrong_argument(bridge: FakeProvider, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "image.png"
    if content is not None:
        file.write_bytes(content)
    answer = ask(bridge, "--image", str(file))
    assert (answer.exit_code, answer.stdout, bridge.received) == (2, "", [])
    assert answer.stderr.startswith("--image: ")


def test_url_and_key_may_come_from_the_environment(bridge: FakeProvider) -> None:
    assert run("Hi", SEKHA_BRIDGE_URL=f"{bridge.url}/v1", SEKHA_BRIDGE_API_KEY=KEY).exit_code == 0
    assert bridge.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_no_proxy_is_used_for_a_bridge_on_this_machine(bridge: FakeProvider) -> None:
    assert ask(bridge, HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1").exit_code == 0


def test_a_bridge_that_is_not_there_is_named_with_the_remedy() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    answer = run("Hi", "--url", url)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert answer.stderr.startswith(f"{url} cannot be reached: ")
    assert "`infra/local/up` starts it" in answer.stderr


def test_a_page_is_no_bridge() -> None:
    with RawServer(http(b"<html></html>", content_type="text/html")) as server:
        answer = run("Hi", "--url", server.url)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "answered 200 with text/html, not as a bridge does" in answer.stderr


def test_a_key_that_is_not_accepted_is_named_with_its_option_and_not_shown(bridge: FakeProvider) -> None:
    bridge.always(PATH, Reply(401, {"error": {"message": "An API key is needed.", "code": "invalid_api_key"}}))
    answer = ask(bridge, "--api-key", KEY)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "An API key is needed. Check the key (--api-key or SEKHA_BRIDGE_API_KEY)." in answer.stderr
    assert KEY not in answer.output


@pytest.mark.parametrize(("option", "value"), [("--url", "localhost:8000"), ("--api-key", "a\nb")])
def test_an_option_that_cannot_be_used_is_named(bridge: FakeProvider, option: str, value: str) -> None:
    answer = ask(bridge, option, value)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"{option} (or SEKHA_BRIDGE_")


def test_an_error_of_the_bridge_has_its_wait_and_the_request_id(bridge: FakeProvider) -> None:
    envelope = {"message": "no\n provider", "code": "no_provider_available", "request_id": "r1"}
    bridge.always(PATH, Reply(503, {"error": envelope}, {"retry-after": "9"}))
    answer = ask(bridge)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == "no provider Try again in 9 s. (request id r1)\n"
    assert len(bridge.received) == 1


def test_an_answer_that_breaks_off_is_printed_so_far_and_is_an_error(bridge: FakeProvider) -> None:
    bridge.always(PATH, Reply(stream=Stream([START, chunk({"content": "Hel"})])))
    answer = ask(bridge)
    assert (answer.exit_code, answer.stdout) == (1, "Hel\n")
    assert "the answer is not complete" in answer.stderr


def test_a_pipe_gets_the_text_unchanged_and_uncoloured(bridge: FakeProvider) -> None:
    text = "\x1b[31mred\u2028" + "word " * 60
    bridge.always(PATH, Reply(stream=Stream([START, chunk({"content": text}), STOP, DONE])))
    assert ask(bridge).stdout == f"{text}\n"


def test_tool_calls_and_a_cut_answer_are_told(bridge: FakeProvider) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"x":1}'}}
    parts = [START, chunk({"tool_calls": [call]}), chunk({}, finish="length"), DONE]
    bridge.always(PATH, Reply(stream=Stream(parts)))
    answer = ask(bridge)
    assert answer.stdout == ""
    assert 'the model calls f({"x":1})' in answer.stderr
    assert "the answer is cut off" in answer.stderr
    assert "cost not known" in answer.stderr


def test_the_help_lists_the_exit_codes_and_not_the_key() -> None:
    answer = run("--help", SEKHA_BRIDGE_API_KEY=KEY)
    for line in (
        "0 the answer is complete",
        "1 there is no answer",
        "2 an argument",
        "3 the bridge cannot",
        "130 interr",
    ):
        assert line in answer.stdout
    assert KEY not in answer.output


# A test run in a shell's background ignores SIGINT, and what it starts would inherit that.
_RUN = """\
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sekha_llm_bridge.cli import main
main()
"""


def start(*arguments: str, **how: Any) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen([sys.executable, "-c", _RUN, "chat", *arguments], env=environ, **how)


def test_ctrl_c_ends_an_answer_closes_its_stream_and_exits_with_130(bridge: FakeProvider) -> None:
    silent = Stream([START, chunk({"content": "Hel"})], ending="silent")
    bridge.always(PATH, Reply(stream=silent))
    with start("Hi", "--url", bridge.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == b"Hel"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"interrupted\n")
    assert silent.client_disconnected.wait(timeout=5)


class Terminal:
    """The command on a pseudo-terminal, as a user has it."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        self.seen = ""
        self._poll = select.poll()  # select() takes no descriptor above 1023
        self._poll.register(descriptor, select.POLLIN)

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def read_until(self, word: str, times: int = 1, *, timeout_s: float = 30) -> None:
        assert self.has_read(word, times, timeout_s=timeout_s), self.seen

    def has_read(self, word: str, times: int, *, timeout_s: float) -> bool:
        while self.seen.count(word) < times:
            if not self._poll.poll(timeout_s * 1000):
                return False
            self.seen += os.read(self._descriptor, 65536).decode(errors="replace")
        return True

    def interrupt_until(self, word: str, times: int) -> None:
        """Presses Ctrl-C until the word is there: Python does not notice a signal just before it waits for a line."""
        for _ in range(15):
            os.killpg(self.process.pid, signal.SIGINT)
            if self.has_read(word, times, timeout_s=2):
                return
        raise AssertionError(self.seen)

    def end(self) -> int:
        self.type("\x04")
        return self.process.wait(timeout=30)


@contextmanager
def conversation(*arguments: str) -> Iterator[Terminal]:
    user, screen = pty.openpty()
    with start(*arguments, stdin=screen, stdout=screen, stderr=screen, start_new_session=True) as process:
        os.close(screen)
        try:
            terminal = Terminal(process, user)
            terminal.read_until("> ")
            yield terminal
        finally:
            process.kill()
            os.close(user)


def contents(bridge: FakeProvider) -> list[list[str]]:
    return [[message["content"] for message in call.body["messages"]] for call in bridge.calls(PATH)]


def test_a_conversation_sends_every_message_before_and_ends_with_ctrl_d(bridge: FakeProvider) -> None:
    with conversation("--url", bridge.url) as terminal:
        terminal.type("Hi\r")
        terminal.read_until("> ", times=2)
        terminal.type("\r  \rAnd?\r")
        terminal.read_until("Hello.", times=2)
        terminal.read_until("> ", times=5)
        terminal.type("/new\rAgain\r")
        terminal.read_until("Hello.", times=3)
        terminal.read_until("> ", times=7)
        assert terminal.end() == 0
    assert contents(bridge) == [["Hi"], ["Hi", "Hello.", "And?"], ["Again"]]
    assert "cost $0.00012" in terminal.seen


def test_ctrl_c_during_an_answer_ends_that_answer_only(bridge: FakeProvider) -> None:
    silent = Stream([START, chunk({"content": "Hel"})], ending="silent")
    bridge.script(PATH, Reply(stream=silent))
    with conversation("--url", bridge.url) as terminal:
        terminal.type("Hi\r")
        terminal.read_until("Hel")
        os.killpg(terminal.process.pid, signal.SIGINT)
        terminal.read_until("interrupted")
        assert silent.client_disconnected.wait(timeout=5)
        terminal.read_until("> ", times=2)
        terminal.interrupt_until("Ctrl-D ends the conversation", times=2)
        terminal.type("And?\r")
        terminal.read_until("Hello.")
        terminal.read_until("> ", times=4)
        assert terminal.end() == 0
    assert contents(bridge) == [["Hi"], ["Hi", "Hel", "And?"]]


def test_an_unknown_command_is_not_sent_to_the_model(bridge: FakeProvider) -> None:
    with conversation("--url", bridge.url) as terminal:
        terminal.type("/help\r")
        terminal.read_until("/help is no command")
        terminal.type("//home is a folder\r")
        terminal.read_until("Hello.")
        terminal.read_until("> ", times=3)
        assert terminal.end() == 0
    assert contents(bridge) == [["/home is a folder"]]


def test_an_error_does_not_end_a_conversation_but_is_its_exit_code(bridge: FakeProvider) -> None:
    bridge.script(PATH, Reply(503, {"error": {"message": "no provider", "code": "no_provider_available"}}))
    with conversation("--url", bridge.url) as terminal:
        terminal.type("Hi\r")
        terminal.read_until("no provider")
        terminal.read_until("> ", times=2)
        terminal.type("Again\r")
        terminal.read_until("Hello.")
        terminal.read_until("> ", times=3)
        bridge.script(PATH, Reply(402, {"error": {"message": "too dear", "code": "cost_limit_exceeded"}}))
        terminal.type("More\r")
        terminal.read_until("too dear")
        terminal.read_until("> ", times=4)
        assert terminal.end() == 1
    assert contents(bridge) == [["Hi"], ["Again"], ["Again", "Hello.", "More"]]


def test_a_terminal_gets_no_control_characters_of_the_model(bridge: FakeProvider) -> None:
    parts = [START, chunk({"content": "\x1b]0;title\x07 a\r\n\tb\x9b2J é"}), STOP, DONE]
    bridge.always(PATH, Reply(stream=Stream(parts)))
    with conversation("--url", bridge.url) as terminal:
        terminal.type("Hi\r")
        terminal.read_until("cost not known")
        terminal.read_until("> ", times=2)
        terminal.end()
    assert "?]0;title? a\r\n\tb?2J é" in terminal.seen
    assert "\x1b]0" not in terminal.seen


def test_json_needs_a_message_on_a_terminal() -> None:
    user, screen = pty.openpty()
    with start("--json", stdin=screen, stderr=subprocess.PIPE) as process:
        _, errors = process.communicate(timeout=30)
    os.close(user)
    os.close(screen)
    assert process.returncode == 2
    assert b"--json needs a message" in errors
