"""Measures how long a plan and its first candidate take with 10, 100 and 1,000 configured models.

The baseline sorts the same number of dataclass objects by a number. The time should grow only with the number of
models, and stay under a millisecond for 1,000.
"""

import argparse
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any

from bridge_bench.cores import pin, two_cores
from bridge_bench.measuring import Samples, measure_interleaved
from bridge_bench.tables import warm_table
from sekha_llm_bridge.config.loaded import Settings
from sekha_llm_bridge.pricing import PriceBook, TokenCount
from sekha_llm_bridge.routing import Catalog, RouteRequest, RoutingContext, plan
from tests.fakes.settings import chat_model, make_settings, provider

_SIZES = (10, 100, 1000)
_MODELS_PER_PROVIDER = 20
_WINDOWS = (8192, 32_768, 131_072)
_PROMPT = TokenCount(estimate=700, bound=2900, minimum=400)
_REQUEST = RouteRequest(None, _PROMPT, output_tokens=1000)
_LIMITS = {
    "no limit": RoutingContext(),
    "the default limit": RoutingContext(default_max_cost_usd=Decimal("1.00")),
    "a limit that all models meet": RoutingContext(max_cost_usd=Decimal("0.10")),
    "a limit that half of the models meet": RoutingContext(max_cost_usd=Decimal("0.008")),
}


def main(arguments: Sequence[str]) -> None:
    """The time that a plan takes with 10, 100 and 1,000 configured models."""
    parser = argparse.ArgumentParser(
        prog="infra/bench/run planning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200, help="plans of each kind in one repeat (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="number of repeats (%(default)s)")
    options = parser.parse_args(arguments)
    pin(two_cores()[0])
    for size in _SIZES:
        calls = _calls(Catalog.of(_settings(size), PriceBook()))
        series: dict[str, list[Samples]] = {name: [] for name in calls}
        for _ in range(options.repeats):
            for name, samples in measure_interleaved(calls, options.rounds).items():
                series[name].append(samples)
        print(f"{size} models", warm_table(series), sep="\n", end="\n\n", flush=True)


def _calls(catalog: Catalog) -> dict[str, Callable[[], object]]:
    baseline: dict[str, Callable[[], object]] = {
        "baseline: sorting the models": lambda: sorted(catalog.models, key=attrgetter("window"))
    }
    return baseline | {name: partial(_plan, catalog, limits) for name, limits in _LIMITS.items()}


def _plan(catalog: Catalog, limits: RoutingContext) -> object:
    planned = plan(_REQUEST, catalog, limits)
    return planned.candidate_for(planned.ranked[0], spent_usd=Decimal(0))


def _settings(size: int) -> Settings:
    """Returns `size` chat models with different prices, windows and output limits; providers have ten priorities."""
    each = min(size, _MODELS_PER_PROVIDER)
    numbers = [range(first, first + each) for first in range(0, size, each)]
    return make_settings(
        *(provider(f"p{i}", *map(_model, models), priority=1 + i % 10) for i, models in enumerate(numbers))
    )


def _model(number: int) -> dict[str, Any]:
    return chat_model(
        f"m{number}",
        price=(0.1 + number * 7 % 50 / 10, 0.2 + number * 5 % 90 / 10),
        context_window=_WINDOWS[number % len(_WINDOWS)],
        max_output_tokens=(None, 4096, 16_384)[number % 3],
        supports_vision=number % 2 == 0,
    )
