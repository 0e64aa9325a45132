"""The metrics that alarms and dashboards watch."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_SEARCH = re.compile(r"SEARCH\('\{([\w/]+(?:,\w+)*)\} MetricName=\"(\w+)\" service=\"([^\"]+)\"', '(\w+)', (\d+)\)")


class Watched(NamedTuple):
    """One metric; `dimensions` is empty for a search, which has only the names of some."""

    namespace: str
    name: str
    dimension_names: frozenset[str]
    statistic: str
    dimensions: tuple[tuple[str, str], ...] = ()


def of_alarm(alarm: Mapping[str, Any]) -> Iterator[Watched]:
    """Yields the metrics of an alarm."""
    stats = [one["MetricStat"] for one in alarm.get("Metrics", []) if "MetricStat" in one]
    for stat in stats:
        yield _watched(stat["Metric"], stat["Stat"])
    if not stats:
        yield _watched(alarm, alarm["Statistic"])


def _watched(metric: Mapping[str, Any], statistic: str) -> Watched:
    dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
    names, values = frozenset(dimensions), tuple(sorted(dimensions.items()))
    return Watched(metric["Namespace"], metric["MetricName"], names, statistic, values)


def of_dashboard(body: str) -> Iterator[Watched]:
    """Yields the metrics of all widgets."""
    for widget in json.loads(body)["widgets"]:
        properties = widget["properties"]
        for row in properties["metrics"]:
            yield _of_row(row, properties["stat"])


def _of_row(row: list[Any], default: str) -> Watched:
    *parts, options = row if isinstance(row[-1], dict) else [*row, {}]
    if not parts:
        found = _SEARCH.fullmatch(options["expression"])
        assert found, options
        namespace, *names = found[1].split(",")
        assert found[3] == "bridge"
        return Watched(namespace, found[2], frozenset(names), found[4])
    namespace, name, *pairs = parts
    dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
    values = tuple(sorted(dimensions.items()))
    return Watched(namespace, name, frozenset(dimensions), options.get("stat", default), values)
