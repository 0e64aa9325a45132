"""The `models` command: the configured models, as a table."""

import json
import sys

from sekha_llm_bridge import BridgeError, Model
from sekha_llm_bridge.cli.bridge_client import DONE, INTERRUPTED, open_bridge, report
from sekha_llm_bridge.cli.bridge_options import NoSingleBridge
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.tables import MISSING, print_table, usd
from sekha_llm_bridge.cli.terminal import make_console

_COLUMNS = (
    ("model", False),
    ("provider", False),
    ("tasks", False),
    ("context", True),
    ("features", False),
    ("in / out, $ per million tokens", True),
)


def run(url: str | None, api_key: str | None, *, as_json: bool) -> int:
    """Prints the models. Returns the exit code."""
    try:
        with open_bridge(url, api_key) as bridge:
            models = bridge.models()
            names = () if as_json else bridge.names()
    except (BridgeError, NoSingleBridge) as exc:
        return report(exc)
    except KeyboardInterrupt:
        return INTERRUPTED
    if as_json:
        sys.stdout.write(json.dumps([model.raw for model in models], separators=(",", ":")) + "\n")
        return DONE
    print_table(make_console(), _COLUMNS, map(_row, models))
    if names:
        sys.stdout.write("\n" + printable(f"names that stand for models: {', '.join(names)}") + "\n")
    return DONE


def _row(model: Model) -> tuple[str, ...]:
    return (
        model.model_id,
        model.provider_id,
        ", ".join(model.tasks),
        MISSING if model.context_window is None else f"{model.context_window:,}",
        _features(model),
        _prices(model),
    )


def _features(model: Model) -> str:
    features = {
        "vision": model.supports_vision,
        "audio": model.supports_audio,
        "tools": model.supports_function_calling,
        f"{model.dimension} dimensions": model.dimension,
    }
    return ", ".join(name for name, has_it in features.items() if has_it) or MISSING


def _prices(model: Model) -> str:
    if model.input_usd_per_mtok is None:
        return MISSING
    if not model.input_usd_per_mtok and not model.output_usd_per_mtok:
        return "free"
    return f"{usd(model.input_usd_per_mtok)} / {usd(model.output_usd_per_mtok)}"
