"""`sekha-bridge health`, run as a user types it, against a server on loopback."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from sekha_llm_bridge.cli.app import app
from tests.fakes.provider import FakeProvider, Reply

PATH = "/api/v1/health"
KEY = "sk-hunter2"


@pytest.fixture(autouse=True)
def _no_bridge_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEKHA_BRIDGE_URL", "SEKHA_BRIDGE_API_KEY", "FORCE_COLOR", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def report(status: str = "healthy", **more: object) -> dict[str, Any]:
    return {"status": status, "providers": {"local": {"status": status}}, **more}


def health(fake: FakeProvider, *arguments: str, **environ: str) -> Any:
    return run("--url", fake.url, *arguments, **environ)


def run(*arguments: str, **environ: str) -> Any:
    return CliRunner(env={"COLUMNS": "80", **environ}).invoke(app, ["health", *arguments])


@pytest.mark.parametrize(
    ("status", "http_status", "code"), [("healthy", 200, 0), ("degraded", 200, 1), ("unhealthy", 503, 2)]
)
@pytest.mark.parametrize("arguments", [(), ("--once",), ("--json",)])
def test_the_exit_code_is_that_of_the_overall_status(
    fake: FakeProvider, status: str, http_status: int, code: int, arguments: tuple[str, ...]
) -> None:
    fake.always(PATH, Reply(http_status, report(status)))
    answer = health(fake, *arguments)
    assert (answer.exit_code, answer.stderr) == (code, "")
    assert status in answer.stdout


def test_without_a_terminal_one_report_is_printed(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, report(version="2.0.0")))
    answer = health(fake, FORCE_COLOR="1")  # rich treats the output as a terminal then
    assert len(fake.calls(PATH)) == 1
    assert fake.url in answer.stdout
    assert "version 2.0.0" in answer.stdout


def test_json_is_the_received_report_on_one_line_with_unknown_fields(fake: FakeProvider) -> None:
    body = report("degraded", news={"a": [1, 2.50, None, "é"]}, notes=["n"])
    fake.always(PATH, Reply(200, body))
    answer = health(fake, "--json")
    assert json.loads(answer.stdout) == body
    assert answer.stdout == json.dumps(body, separators=(",", ":")) + "\n"


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_url_may_end_in_a_slash_or_in_v1(fake: FakeProvider, ending: str) -> None:
    fake.always(PATH, Reply(200, report()))
    fake.always(f"/stage{PATH}", Reply(200, report()))
    assert run("--url", f"{fake.url}{ending}").exit_code == 0
    assert run("--url", f"{fake.url}/stage{ending}").exit_code == 0


def test_the_url_and_the_key_may_come_from_the_environment(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, report()))
    assert run(SEKHA_BRIDGE_URL=fake.url, SEKHA_BRIDGE_API_KEY=KEY).exit_code == 0
    assert fake.calls(PATH)[0].headers["authorization"] == f"Bearer {KEY}"


def test_options_override_the_environment(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, report()))
    health(fake, "--api-key", KEY, SEKHA_BRIDGE_URL="http://127.0.0.1:1", SEKHA_BRIDGE_API_KEY="other")
    assert fake.calls(PATH)[0].headers["authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_authorization_header_is_sent(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, report()))
    health(fake)
    health(fake, "--api-key", " ")
    assert ["authorization" in call.headers for call in fake.calls(PATH)] == [False, False]


def test_a_line_end_after_the_key_is_not_sent(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, report()))
    health(fake, SEKHA_BRIDGE_API_KEY=f"{KEY}\r\n")
    assert fake.calls(PATH)[0].headers["authorization"] == f"Bearer {KEY}"


def test_no_proxy_is_used_for_a_bridge_on_this_machine(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, report()))
    assert health(fake, HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1").exit_code == 0


@pytest.mark.parametrize("proxy", ["socks4://u:hunter2@host", "http://u:hunter2@host:x"])
def test_an_unusable_proxy_is_named_without_its_password(proxy: str) -> None:
    answer = run("--url", "http://bridge.invalid", HTTP_PROXY=proxy, http_proxy=proxy)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "the proxy of the environment: cannot be used" in answer.stderr
    assert "hunter2" not in answer.stderr


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_an_unreachable_bridge_gives_3_and_the_remedy(fake: FakeProvider, arguments: tuple[str, ...]) -> None:
    fake.stop()
    answer = health(fake, *arguments)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert answer.stderr == (
        f"{fake.url}: cannot be reached, Connection refused: is it running? `infra/local/up` starts it\n"
    )


def test_a_connection_that_breaks_gives_3(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(reset=True))
    answer = health(fake)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert f"{fake.url}: cannot be reached, Connection reset by peer" in answer.stderr


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"<html>", "not JSON"),
        (b"", "not JSON"),
        (b"[]", "the document: "),
        (b'{"status": "ok", "providers": {}}', "status: "),
        (b'{"status": "healthy"}', "providers: Field required"),
        (b'{"status": "healthy", "providers": {"p": {"models_count": 1}}}', "providers.p.status: Field required"),
        (b'{"status": "healthy", "providers": {"p": {"status": "healthy", "latency_ms": NaN}}}', "latency_ms: "),
    ],
)
@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_an_invalid_report_gives_3_and_the_first_fault(
    fake: FakeProvider, body: bytes, fault: str, status: int, arguments: tuple[str, ...]
) -> None:
    fake.always(PATH, Reply(status, raw=body))
    answer = health(fake, *arguments)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert f"{fake.url}{PATH}: answered {status}, but not with a health report (" in answer.stderr
    assert fault in answer.stderr
    assert "is this the URL of a bridge?" in answer.stderr


def test_control_characters_of_an_invalid_answer_are_not_printed(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, {"status": "healthy", "providers": {"\x1b[2J": {}}}))
    answer = health(fake)
    assert answer.exit_code == 3
    assert "(providers.?[2J.status: Field required)" in answer.stderr


def test_another_status_gives_3_whatever_the_body_is(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(404, report()))
    answer = health(fake)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert f"{fake.url}{PATH}: answered 404 instead of a health report: is this the URL of a bridge?" in answer.stderr


def test_a_redirect_gives_3_and_the_url_that_it_leads_to(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(308, headers={"location": "https://elsewhere.invalid/"}))
    answer = health(fake, "--api-key", KEY)
    assert answer.exit_code == 3
    assert "give the URL that it redirects to, https://elsewhere.invalid/" in answer.stderr


def test_401_says_that_a_key_is_needed_and_how_to_give_it(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(401, {"message": "Unauthorized"}))
    answer = health(fake)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "a key is needed, give it with --api-key or in SEKHA_BRIDGE_API_KEY" in answer.stderr


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_gives_the_advice_to_check_it_and_is_not_printed(fake: FakeProvider, status: int) -> None:
    fake.always(PATH, Reply(status, {"message": KEY}))
    answer = health(fake, "--api-key", KEY)
    assert answer.exit_code == 3
    assert "check the key (--api-key or SEKHA_BRIDGE_API_KEY)" in answer.stderr
    assert KEY not in answer.output


@pytest.mark.parametrize("key", [f"{KEY}\n1", f"{KEY}é", f"{KEY}\x1b"])
def test_a_key_that_no_header_can_carry_gives_3_and_is_not_printed(fake: FakeProvider, key: str) -> None:
    answer = health(fake, SEKHA_BRIDGE_API_KEY=key)
    assert answer.exit_code == 3
    assert "--api-key: has a character that a header cannot have" in answer.stderr
    assert "hunter2" not in answer.output


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "127.0.0.1", "ftp://host", "http://", "http://[::1", f"http://{'a' * 64}.com"]
)
def test_an_invalid_url_gives_3_and_an_example(url: str) -> None:
    answer = run("--url", url)
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert f"{url!r}: is not the URL of a bridge: it looks like http://127.0.0.1:8000" in answer.stderr


@pytest.mark.parametrize("url", ["http://me:hunter2@127.0.0.1:1", "http://me:hunter2@host:port", "me:hunter2@host"])
def test_a_password_in_the_url_is_rejected_and_not_printed(url: str) -> None:
    answer = run("--url", url)
    assert answer.exit_code == 3
    assert "--url: holds a user name or password" in answer.stderr
    assert "hunter2" not in answer.output


@pytest.mark.parametrize("interval", ["0.4", "-1", "nan", "inf", "90000"])
def test_an_interval_out_of_range_is_a_usage_error(fake: FakeProvider, interval: str) -> None:
    answer = health(fake, "--interval", interval)
    assert answer.exit_code == 2
    assert "is not between 0.5 and 86400 seconds" in answer.stderr
    assert fake.received == []


def test_the_help_lists_the_exit_codes_and_not_the_key() -> None:
    answer = run("--help", SEKHA_BRIDGE_API_KEY=KEY)
    assert answer.exit_code == 0
    for line in ("0 healthy", "1 degraded", "2 unhealthy", "3 no report", "SEKHA_BRIDGE_URL", "SEKHA_BRIDGE_API_KEY"):
        assert line in answer.stdout
    assert KEY not in answer.output


def test_importing_the_command_line_imports_neither_httpx_nor_the_live_display() -> None:
    code = "import sys, sekha_llm_bridge.cli.app; assert not {'httpx', 'pydantic', 'rich.live'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stream_that_is_not_utf_8_gets_ascii(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, {"status": "healthy", "providers": {"café": {"status": "healthy"}}}))
    command = [sys.executable, "-m", "sekha_llm_bridge.cli", "health", "--url", fake.url]
    answer = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=True)
    assert b"caf? " in answer.stdout


# A test run in a shell's background ignores SIGINT, and what it starts would inherit that.
_RUN_IN_A_TERMINAL = """\
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sekha_llm_bridge.cli import main
main()
"""


@contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Starts the command with a pseudo-terminal as its output; yields the process and the descriptor to read it."""
    reader, screen = pty.openpty()
    command = [sys.executable, "-c", _RUN_IN_A_TERMINAL, "health", *arguments]
    environ = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdout=screen, stderr=subprocess.PIPE, env=environ) as process:
        os.close(screen)  # so that a read fails when the process has ended, instead of blocking
        try:
            yield process, reader
        finally:
            process.kill()
            os.close(reader)


def read_until(word: bytes, reader: int) -> bytes:
    seen = b""
    while word not in seen:
        seen += os.read(reader, 65536)
    return seen


def test_on_a_terminal_it_runs_until_ctrl_c_and_exits_with_the_code_of_the_last_report(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(200, report("healthy")))
    fake.always(PATH, Reply(200, report("degraded")))
    with on_a_terminal("--url", fake.url, "--interval", "0.5") as (process, reader):
        seen = read_until(b"degraded", reader)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert seen.index(b"waiting for") < seen.index(b"healthy")
    assert (process.returncode, errors) == (1, b"")


def test_on_a_terminal_an_outage_is_displayed_and_does_not_end_the_command(fake: FakeProvider) -> None:
    fake.script(PATH, Reply(200, report("healthy")), Reply(reset=True))
    fake.always(PATH, Reply(200, report("degraded")))
    with on_a_terminal("--url", fake.url, "--interval", "0.5") as (process, reader):
        assert b"no report since" in read_until(b"degraded", reader)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 1


def test_once_exits_by_itself_on_a_terminal(fake: FakeProvider) -> None:
    fake.always(PATH, Reply(200, report("degraded")))
    with on_a_terminal("--url", fake.url, "--once") as (process, reader):
        read_until(b"degraded", reader)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (1, b"")
