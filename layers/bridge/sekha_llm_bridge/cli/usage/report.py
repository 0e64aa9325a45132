"""Reads what was used, from the table or from the bridge, and prints it."""

import csv
import json
import sys
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from sekha_llm_bridge import BridgeError, UsageReport, UsageSum
from sekha_llm_bridge.access.usage_records.sums import GroupBy, period_of
from sekha_llm_bridge.cli.bridge_client import DONE, INTERRUPTED, NO_BRIDGE, WRONG_ARGUMENT, open_bridge, report
from sekha_llm_bridge.cli.bridge_options import NoSingleBridge
from sekha_llm_bridge.cli.deployment import NoDeployment, TableFailed
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.tables import MISSING, print_table, usd
from sekha_llm_bridge.cli.terminal import make_console
from sekha_llm_bridge.cli.usage.table import read_table

_COLUMNS = (
    ("requests", True),
    ("input tokens", True),
    ("of them cached", True),
    ("output tokens", True),
    ("cost, $", True),
)
_CSV_FIELDS = (
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost",
    "max_cost",
    "unpriced_attempts",
)


class Options(NamedTuple):
    """The options of the command."""

    by: Literal["day", "model", "key"]
    first: str | None
    last: str | None
    as_json: bool
    as_csv: bool
    stack: str | None
    url: str | None
    api_key: str | None


class InvalidPeriod(Exception):
    """`--from` or `--to` is not a day, or the period is too long."""


def run(options: Options) -> int:
    """Prints the usage. Returns the exit code."""
    if options.as_json and options.as_csv:
        return _failed("--json and --csv exclude each other", WRONG_ARGUMENT)
    try:
        used = _read(options)
    except (InvalidPeriod, NoDeployment) as exc:
        return _failed(str(exc), WRONG_ARGUMENT)
    except TableFailed as exc:
        return _failed(str(exc), NO_BRIDGE)
    except (BridgeError, NoSingleBridge) as exc:
        return report(exc)
    except KeyboardInterrupt:
        return INTERRUPTED
    _print(used, options)
    return DONE


def _read(options: Options) -> UsageReport:
    """Returns the usage from the bridge where an option names it or a key, else from the table."""
    try:
        period = period_of(options.first, options.last, today=datetime.now(UTC).date())
    except ValueError as exc:
        raise InvalidPeriod(f"--{exc}") from exc
    if options.stack or not (options.url or options.api_key):
        return read_table(options.stack, period, GroupBy(options.by))
    with open_bridge(options.url, options.api_key) as bridge:
        return bridge.usage(options.by, first=period.first, last=period.last)


def _print(used: UsageReport, options: Options) -> None:
    if options.as_json:
        sys.stdout.write(json.dumps(used.raw, separators=(",", ":")) + "\n")
    elif options.as_csv:
        _print_csv(used)
    else:
        _print_table(used)


def _print_csv(used: UsageReport) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    has_names = used.by == "key"
    writer.writerow((used.by, *(("name",) if has_names else ()), *_CSV_FIELDS))
    for row, name in zip(used.sums, _key_names(used), strict=True):
        texts = (row.name or "", *((name,) if has_names else ()))
        writer.writerow((*map(_cell, texts), *(_csv_value(getattr(row, field)) for field in _CSV_FIELDS)))


def _key_names(used: UsageReport) -> list[str]:
    """Returns the name of the key of each row; empty where it has none, or where rows are not of keys."""
    return [row.get("name") or "" for row in used.raw["data"]]


def _cell(text: str) -> str:
    """Returns a text as a cell that a spreadsheet does not read as a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _csv_value(value: Any) -> str:
    return str(value) if isinstance(value, int) else f"{value:f}"


def _print_table(used: UsageReport) -> None:
    whose = f" by the API key {used.key_id}" if used.key_id else ""
    sys.stdout.write(printable(f"used{whose} from {used.first} to {used.last} (UTC)") + "\n\n")
    named = zip(used.sums, _key_names(used), strict=True)
    rows = [_row(row, f"{row.name or '(no key)'} {name}".rstrip()) for row, name in named]
    if len(used.sums) > 1:
        rows.append(_row(used.total, "total"))
    print_table(make_console(), ((used.by, False), *_COLUMNS), rows or [("nothing", *(MISSING,) * len(_COLUMNS))])
    total = used.total
    if total.max_cost > total.cost:
        possible = usd(total.max_cost - total.cost)
        sys.stdout.write(f"\ninterrupted requests may have cost up to ${possible} more\n")
    if total.unpriced_attempts:
        sys.stdout.write(f"\n{total.unpriced_attempts} calls of models without a known price are not in the cost\n")


def _row(row: UsageSum, name: str) -> tuple[str, ...]:
    counts = (row.requests, row.input_tokens, row.cached_input_tokens, row.output_tokens)
    return (name, *(f"{count:,}" for count in counts), usd(row.cost))


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"{printable(message)}\n")
    return code
