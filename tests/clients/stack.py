"""The local stack that the callers' tests speak to."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.assistant import BROKEN_MODEL, LIMITED_MODEL, Assistant
from tests.fakes.settings import chat_model, embedding_model, provider

EMBEDDING_MODEL = "nomic-embed-text"
WINDOW = 200_000  # coding agents ask for long answers
MODELS_OF_FORMATS = {"openai": "gpt-4o", "anthropic": "claude", "ollama": "qwen"}
"""Models of the stack, which see images, by the format of their providers."""


@dataclass(frozen=True)
class CallersStack:
    """A running stack, and the provider behind all its models."""

    running: RunningStack
    upstream: Assistant

    @property
    def address(self) -> str:
        """The address of the bridge, without a path."""
        return self.running.base_url


@contextlib.contextmanager
def stack_of_callers(folder: Path) -> Iterator[CallersStack]:
    """A stack whose models have the names that the callers' documentation uses; all are answered by an `Assistant`: most
    in OpenAI's format, `claude` in Anthropic's, `qwen` in Ollama's.
    """
    with Assistant() as upstream:
        models = [
            chat_model("llama3.1:8b"),
            chat_model("llama3.1:70b", task="chat_smart"),
            chat_model("gpt-4o", task="chat_smart", supports_vision=True, context_window=WINDOW),
            embedding_model(EMBEDDING_MODEL),
        ]
        failing = [chat_model(LIMITED_MODEL, price=(9, 9)), chat_model(BROKEN_MODEL, price=(9, 9))]
        address = f"{upstream.url}/v1"
        providers = [
            provider("local", *models, base_url=address),
            provider("failing", *failing, base_url=address, priority=90),
            provider(
                "anthropic",
                chat_model("claude", price=(0.1, 0.2), supports_vision=True, context_window=WINDOW),
                provider_type="anthropic",
                base_url=upstream.url,
                api_key="unused",
                priority=90,
            ),
            provider(
                "ollama",
                chat_model("qwen", price=(0.1, 0.2), supports_vision=True, context_window=WINDOW),
                provider_type="ollama",
                base_url=upstream.url,
                priority=90,
            ),
        ]
        document = {
            "providers": providers,
            "default_models": {
                "embedding": EMBEDDING_MODEL,
                "chat_fast": "llama3.1:8b",
                "chat_smart": "llama3.1:70b",
            },
            "routing": {"circuit_breaker": {"failure_threshold": 1000}},
        }
        config = folder / "providers.yaml"
        config.write_text(yaml.safe_dump(document))
        with running_stack(config=config) as running:
            yield CallersStack(running, upstream)
