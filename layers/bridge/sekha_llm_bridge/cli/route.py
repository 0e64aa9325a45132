"""The `route` command: the plan for a request, as a table."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sekha_llm_bridge import BridgeError, Route, RouteCandidate
from sekha_llm_bridge.cli.bridge_client import DONE, INTERRUPTED, open_bridge, report
from sekha_llm_bridge.cli.bridge_options import NoSingleBridge
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.tables import MISSING, print_table, usd
from sekha_llm_bridge.cli.terminal import make_console
from sekha_llm_bridge.client.models import candidate_of

_EMBEDDING = "embedding"
_ANY_MESSAGE = "Hello"  # without a task, the bridge plans for messages
_COLUMNS = (
    ("", True),
    ("model", False),
    ("provider", False),
    ("priority", True),
    ("estimated $", True),
    ("at most $", True),
    ("breaker", False),
    ("excluded because", False),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command."""

    task: str | None
    message: str | None
    model: str | None
    preferred_model: str | None
    max_cost: str | None
    vision: bool
    max_tokens: int | None
    as_json: bool

    def fields(self) -> dict[str, Any]:
        """Returns the arguments for `LlmBridge.route`, without the task."""
        names = ("model", "preferred_model", "max_cost", "max_tokens")
        fields = {name: getattr(self, name) for name in names}
        return {**fields, **self._text(), "require_vision": self.vision}

    def _text(self) -> dict[str, Any]:
        """Returns what is to be embedded, or answered; nothing for a task alone."""
        text = self.message if self.message is not None or self.task is not None else _ANY_MESSAGE
        if text is None:
            return {}
        return {"input": text} if self.task == _EMBEDDING else {"messages": [{"role": "user", "content": text}]}


def run(url: str | None, api_key: str | None, options: Options) -> int:
    """Prints the plan. Returns the exit code."""
    try:
        with open_bridge(url, api_key) as bridge:
            plan = bridge.route(options.task, **options.fields())
    except BridgeError as exc:
        _print_excluded(exc, as_json=options.as_json)
        return report(exc)
    except NoSingleBridge as exc:
        return report(exc)
    except KeyboardInterrupt:
        return INTERRUPTED
    _print(plan, as_json=options.as_json)
    return DONE


def _print(plan: Route, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(plan.raw, separators=(",", ":")) + "\n")
        return
    cost = "cost not known" if plan.estimated_cost is None else f"estimated ${usd(plan.estimated_cost)}"
    sys.stdout.write(printable(f"{plan.model_id} at {plan.provider_id}, {cost}: {plan.reason}") + "\n")
    for note in plan.notes:
        sys.stdout.write(printable(f"note: {note}") + "\n")
    sys.stdout.write("\n")
    _print_candidates(plan.candidates)


def _print_excluded(error: BridgeError, *, as_json: bool) -> None:
    """Prints why every model is excluded, where the error has the plan."""
    if as_json:
        body = {"message": error.message, "code": error.code, "param": error.param, "request_id": error.request_id}
        sys.stdout.write(json.dumps({"error": {**body, "candidates": error.candidates}}, separators=(",", ":")) + "\n")
    elif error.candidates:
        _print_candidates(tuple(map(candidate_of, error.candidates)))


def _print_candidates(candidates: Sequence[RouteCandidate]) -> None:
    print_table(make_console(), _COLUMNS, _rows(candidates))


def _rows(candidates: Sequence[RouteCandidate]) -> Iterator[tuple[str, ...]]:
    place = 0
    for one in candidates:
        place += one.excluded is None
        yield (
            str(place) if one.excluded is None else MISSING,
            one.model_id,
            one.provider_id,
            MISSING if one.priority is None else str(one.priority),
            usd(one.estimated_cost),
            usd(one.cost_bound),
            one.circuit_breaker or MISSING,
            one.excluded or "",
        )
