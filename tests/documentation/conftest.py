"""One local stack for all examples: the shipped configuration, with a fake in place of Ollama and OpenAI."""

import threading
from collections.abc import Iterator

import httpx
import pytest
import yaml

from local_stack.testing import RunningStack, running_stack
from tests.documentation.blocks import ROOT, blocks
from tests.documentation.reader import Reader
from tests.fakes.provider import FakeProvider
from tests.fakes.schema_answers import SchemaFollowingProvider

DIMENSION = 768
_OPENAI_KEY = "sk-documentation"


@pytest.fixture(scope="module")
def models() -> Iterator[FakeProvider]:
    with SchemaFollowingProvider(dimension=DIMENSION) as fake:
        yield fake


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, models: FakeProvider) -> Iterator[RunningStack]:
    """The bridge with the configuration that it is shipped with; only the addresses of the providers are others."""
    shipped = yaml.safe_load((ROOT / "config" / "llm_providers.yaml").read_text(encoding="utf-8"))
    for provider in shipped["providers"]:
        suffix = "" if provider["provider_type"] == "ollama" else "/v1"
        provider["base_url"] = models.url + suffix
    path = tmp_path_factory.mktemp("config") / "llm_providers.yaml"
    path.write_text(yaml.safe_dump(shipped), encoding="utf-8")
    with running_stack(config=path, schedules=True, env={"OPENAI_API_KEY": _OPENAI_KEY}) as running:
        _wait_for_the_first_check(running)
        yield running


def _wait_for_the_first_check(stack: RunningStack) -> None:
    for _ in range(600):
        providers = httpx.get(f"{stack.base_url}/api/v1/health", timeout=30).json()["providers"]
        if all(row["last_checked"] for row in providers.values()):
            return
        threading.Event().wait(0.1)
    raise AssertionError("no scheduled check has run")


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory, stack: RunningStack) -> dict[str, Reader]:
    """A reader for each page, by its name."""
    pages = dict.fromkeys(block.page for block in blocks())
    return {page: Reader(page, tmp_path_factory.mktemp("page"), stack) for page in pages}
