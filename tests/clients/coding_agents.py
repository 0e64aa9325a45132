"""Coding agents of npm: how each is told to use the bridge, and how it is run without a person."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.clients.programs import install_npm_packages

PACKAGES = Path(__file__).parent / "agents"
KEY = "made-up-key"
RUN_LIMIT_S = 180
_CODEX_CONFIG = """
model_provider = "bridge"
web_search = "disabled"
check_for_update_on_startup = false

[agents]
enabled = false

[analytics]
enabled = false

[model_providers.bridge]
name = "bridge"
base_url = "{address}/v1"
wire_api = "responses"
env_key = "BRIDGE_KEY"
http_headers = {{ "x-bridge-max-cost" = "{max_cost}" }}
request_max_retries = 0
stream_max_retries = 0
"""
_CLAUDE_CODE = ("@anthropic-ai/claude-code", "cli-wrapper.cjs")  # starts the program of this machine's kind
_QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Settings:
    """What an agent is told. `max_cost`: USD for each request; `home` is empty at first."""

    address: str
    model: str
    max_cost: str
    home: Path


@dataclass(frozen=True)
class Run:
    """How an agent is started: its command without the question, and the variables of its environment."""

    command: Sequence[str | Path]
    variables: Mapping[str, str]


class Agent(Protocol):
    """Writes an agent's configuration into its home, and returns how it is run."""

    def __call__(self, settings: Settings) -> Run: ...


def claude_code(settings: Settings) -> Run:
    """Claude Code, `/v1/messages`."""
    variables = {
        "ANTHROPIC_BASE_URL": settings.address,
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_CUSTOM_HEADERS": f"x-bridge-max-cost: {settings.max_cost}",
        **_QUIET,
    }
    chosen = ["--model", settings.model] if settings.model else []
    program = _packages().joinpath(*_CLAUDE_CODE)
    return Run(["node", program, "--permission-mode", "acceptEdits", *chosen, "-p"], variables)


def codex(settings: Settings) -> Run:
    """Codex, `/v1/responses`."""
    _write(settings.home / ".codex" / "config.toml", _CODEX_CONFIG.format(**vars(settings)))
    program = _packages() / ".bin" / "codex"
    options = ["--skip-git-repo-check", "--sandbox", "danger-full-access", "--model", settings.model]
    return Run([program, "exec", *options], {"BRIDGE_KEY": KEY})


def continue_chat(settings: Settings) -> Run:
    """Continue's command line, `/v1/chat/completions`."""
    return _continue(settings, "openai")


def continue_messages(settings: Settings) -> Run:
    """Continue's command line, `/v1/messages`."""
    return _continue(settings, "anthropic")


def pi_messages(settings: Settings) -> Run:
    """pi, `/v1/messages`."""
    return _pi(settings, "anthropic-messages", settings.address)


def pi_responses(settings: Settings) -> Run:
    """pi, `/v1/responses`."""
    return _pi(settings, "openai-responses", f"{settings.address}/v1")


AGENTS: Mapping[str, Agent] = {
    "Claude Code": claude_code,
    "Codex": codex,
    "Continue, chat": continue_chat,
    "Continue, messages": continue_messages,
    "pi, messages": pi_messages,
    "pi, responses": pi_responses,
}


def run_agent(agent: Agent, settings: Settings, question: str, folder: Path) -> str:
    """Lets an agent answer a question in a folder. Returns what it wrote, errors included, whatever its exit status.

    Its environment has no variable of this process but PATH, and any request to another machine ends at a proxy that is
    not there.
    """
    run = agent(settings)
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    env = {"PATH": os.environ["PATH"], "HOME": str(settings.home), "LANG": "C.UTF-8", **nowhere, **run.variables}
    done = subprocess.run(
        [*run.command, question],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=RUN_LIMIT_S,
    )
    return done.stdout


def _continue(settings: Settings, provider: str) -> Run:
    model = {
        "name": "bridge",
        "provider": provider,
        "model": settings.model,
        "apiBase": f"{settings.address}/v1",
        "apiKey": KEY,
        "requestOptions": {"headers": {"x-bridge-max-cost": settings.max_cost}},
        "roles": ["chat"],
        "capabilities": ["tool_use"],
    }
    config = settings.home / "continue.yaml"
    _write(config, json.dumps({"name": "local", "version": "1.0.0", "schema": "v1", "models": [model]}))
    program = _packages() / ".bin" / "cn"
    return Run([program, "--config", config, "--auto", "-p"], {"CONTINUE_TELEMETRY_ENABLED": "0"})


def _pi(settings: Settings, api: str, address: str) -> Run:
    model = {"id": settings.model, "contextWindow": 128_000, "maxTokens": 8192}
    headers = {"x-bridge-max-cost": settings.max_cost}
    bridge = {"baseUrl": address, "api": api, "apiKey": KEY, "headers": headers, "models": [model]}
    _write(settings.home / ".pi" / "agent" / "models.json", json.dumps({"providers": {"bridge": bridge}}))
    program = _packages() / ".bin" / "pi"
    variables = {"PI_OFFLINE": "1", "PI_TELEMETRY": "0"}
    return Run([program, "-p", "--provider", "bridge", "--model", settings.model], variables)


def _packages() -> Path:
    return install_npm_packages(PACKAGES, "npm-agents") / "node_modules"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
