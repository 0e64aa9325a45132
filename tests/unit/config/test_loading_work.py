"""Loading is part of every cold start, so its work must not grow faster than the file."""

import cProfile
import pstats
from pathlib import Path

from sekha_llm_bridge.config import load_settings


def test_the_work_of_loading_is_linear_in_the_size_of_the_file(tmp_path: Path) -> None:
    """Counts function calls: ten times the providers must take less than eleven times the calls."""
    assert _count_calls(tmp_path, providers=300) < 11 * _count_calls(tmp_path, providers=30)


def _count_calls(folder: Path, *, providers: int) -> int:
    path = folder / f"{providers}.yaml"
    path.write_text(_config_text(providers=providers, models=5))
    with cProfile.Profile() as profile:
        settings = load_settings(path, environ={"KEY": "sk"})
    assert sum(len(provider.models) for provider in settings.providers) == providers * 5
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]  # left out of the type stubs


def _config_text(*, providers: int, models: int) -> str:
    return "providers:\n" + "".join(_provider_text(number, models) for number in range(providers))


def _provider_text(number: int, models: int) -> str:
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
