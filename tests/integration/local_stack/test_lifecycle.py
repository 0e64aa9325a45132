"""How the stack starts, refuses to start, and ends."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local_stack.testing import RunningStack, command, end, environment_of, running_stack
from sekha_llm_bridge.cli.running_stack import find_stack

pytestmark = pytest.mark.stack

BAD_CONFIG = "providers:\n  - id: X!\n    provider_type: nobody\nsurprise: 1\n"


def marked_processes(mark: str) -> list[int]:
    """The processes that have STACK_MARK=`mark` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"STACK_MARK={mark}".encode() in variables:
            found.append(int(folder.name))
    return found


def until_gone(mark: str, limit_s: float = 5) -> list[int]:
    """Waits until no such process is left; returns those that are after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while marked_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    return marked_processes(mark)


def refused(*arguments: str, config: Path | None = None, template: Path | None = None, state: Path) -> str:
    """What the stack says on stderr when it exits with status 2."""
    done = subprocess.run(
        [*command(config=config, template=template, state=state), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment_of({"COLUMNS": "200"}),
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def ended_stack(
    request: pytest.FixtureRequest, acting_template: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, int, str]]:
    """(signal, exit status, mark) of a stack that got the signal, while a function had a child process of its own."""
    mark = f"{os.getpid()}-{request.param}"
    env = {"STACK_MARK": mark, "MARKS": str(marks)}
    with running_stack(template=acting_template, env=env) as stack:
        httpx.post(f"{stack.base_url}/act", json={"do": "leave_child"}, trust_env=False).raise_for_status()
        assert len(marked_processes(mark)) >= 5  # the stack, its watchdog, AWS, two functions, one's child
        monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(stack.state / "stacks"))
        found = find_stack()
        assert found is not None
        assert (found.url, found.state, found.is_default) == (stack.base_url, stack.state.resolve(), False)
        stack.process.send_signal(request.param)
        yield request.param, stack.process.wait(10), mark


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("MaxChats", "--parameter MaxChats: it has the form NAME=VALUE"),
        ("AuthMode=keys", "--parameter AuthMode: use --auth"),
        ("MaxChat=2", "--parameter MaxChat: the template has no such parameter"),
        ("SnapStart=maybe", "--parameter SnapStart: must be off, chat or all"),
        ("BasePath=llm", "--parameter BasePath needs DomainName"),
    ],
)
def test_a_parameter_that_the_template_cannot_have_is_refused(parameter: str, reason: str, tmp_path: Path) -> None:
    assert reason in refused("--parameter", parameter, state=tmp_path)


def test_a_signal_ends_everything_that_was_started(ended_stack: tuple[int, int, str]) -> None:
    number, status, mark = ended_stack
    assert until_gone(mark) == []
    assert find_stack() is None
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_a_signal_during_the_start_ends_the_stack(acting_template: Path, tmp_path: Path) -> None:
    mark = f"{os.getpid()}-starting"
    process = subprocess.Popen(
        command(template=acting_template, state=tmp_path),
        env=environment_of({"STACK_MARK": mark}),
        stdout=subprocess.PIPE,
    )
    while len(marked_processes(mark)) < 3:  # itself, its watchdog, and one more
        assert process.poll() is None
    assert end(process) == 0
    process.communicate()
    assert until_gone(mark) == []


def test_a_scheduled_function_runs_at_once(stack: RunningStack, marks: Path) -> None:
    event = marks / "scheduled.json"
    deadline = time.monotonic() + 10
    while not (event.exists() and event.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert json.loads(event.read_text())["source"] == "aws.scheduler"
    assert "rate(1 minute)" in stack.printed()


def test_a_service_that_ends_is_restarted_at_its_address(
    stack: RunningStack, client: httpx.Client, shared_mark: str
) -> None:
    url = client.post("/act", json={"do": "environment"}).json()["AWS_ENDPOINT_URL_DYNAMODB"]
    aws = next(pid for pid in marked_processes(shared_mark) if "aws_server" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(aws, signal.SIGKILL)
    assert httpx.get(f"{url}/moto-api/", timeout=20, trust_env=False).status_code == 200
    assert "aws ended (status -9); restarting" in stack.printed()


def test_a_port_that_is_taken_is_reported(acting_template: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--port", str(port), template=acting_template, state=tmp_path)
    assert f"port {port} is taken" in said


def test_two_stacks_do_not_share_a_state_folder(stack: RunningStack, acting_template: Path) -> None:
    assert "another local stack uses" in refused(template=acting_template, state=stack.state)


def test_a_bad_configuration_is_refused_with_every_fault(acting_template: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(BAD_CONFIG)
    said = refused(config=config, template=acting_template, state=tmp_path / "state")
    assert all(fault in said for fault in ("X!", "nobody", "surprise"))


def test_a_bad_template_is_refused_by_name(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {F: {Type: AWS::Serverless::Function, Properties: {CodeUri: nowhere}}}")
    assert "F.CodeUri: there is no folder" in refused(template=template, state=tmp_path / "state")


def test_an_unknown_flag_is_refused(acting_template: Path, tmp_path: Path) -> None:
    assert "--bogus" in refused("--bogus", template=acting_template, state=tmp_path)
