"""Loading is on the path of every cold start."""

import time
from pathlib import Path

from sekha_llm_bridge.config import load_settings


def test_three_hundred_providers_of_five_models_load_in_less_than_a_second_of_cpu(tmp_path: Path) -> None:
    """Some 0.2 s on one core of 2026; the bound leaves room for a slow machine, not for a quadratic step."""
    path = tmp_path / "large.yaml"
    path.write_text(_large(providers=300, models=5))
    started = time.process_time()
    settings = load_settings(path, environ={"KEY": "sk"})
    assert time.process_time() - started < 1
    assert sum(len(provider.models) for provider in settings.providers) == 1500


def _large(*, providers: int, models: int) -> str:
    return "providers:\n" + "".join(_provider(number, models) for number in range(providers))


def _provider(number: int, models: int) -> str:
    head = f"""\
  - id: provider_{number}
    provider_type: openai
    base_url: https://host{number}.example.com/v1
    api_key: ${{KEY}}
    priority: {number % 100 + 1}
    headers: {{X-Org: org-{number}}}
    models:
"""
    return head + "".join(
        f"""\
      - model_id: model-{number}-{index}
        task: chat_small
        context_window: 8192
        supports_vision: true
        pricing: {{input_usd_per_mtok: 0.15, output_usd_per_mtok: 0.60}}
"""
        for index in range(models)
    )
