"""The local stack that the callers' tests speak to."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from local_stack.testing import RunningStack, running_stack
from tests.fakes.assistant import Assistant
from tests.fakes.settings import chat_model, embedding_model, provider


@contextlib.contextmanager
def stack_of_callers(folder: Path) -> Iterator[RunningStack]:
    """A stack whose models have the names that the callers' documentation uses; all are answered by an `Assistant`."""
    with Assistant() as upstream:
        models = [
            chat_model("llama3.1:8b"),
            chat_model("llama3.1:70b", task="chat_smart"),
            chat_model("gpt-4o", task="chat_smart", supports_vision=True),
            embedding_model("nomic-embed-text"),
        ]
        providers = [provider("local", *models, base_url=f"{upstream.url}/v1")]
        defaults = {"embedding": "nomic-embed-text", "chat_fast": "llama3.1:8b", "chat_smart": "llama3.1:70b"}
        config = folder / "providers.yaml"
        config.write_text(yaml.safe_dump({"providers": providers, "default_models": defaults}))
        with running_stack(config=config) as running:
            yield running
