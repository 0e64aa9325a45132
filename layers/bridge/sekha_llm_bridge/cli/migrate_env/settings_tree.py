"""Joins v1's `SEKHA__…` variables to one tree: JSON values are parsed, `SEKHA__A__0__B` goes into a list.

The keys of the tree are v1's, in lower case.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

from sekha_llm_bridge.cli.migrate_env.interpolation import referenced_name
from sekha_llm_bridge.cli.migrate_env.known_variables import (
    SETTING_OF,
    SETTING_PREFIX,
    is_carried,
    is_setting,
    reason_elsewhere,
    reason_unknown,
)
from sekha_llm_bridge.cli.migrate_env.report import Report
from sekha_llm_bridge.cli.migrate_env.source import Raw, Source, V1Node, Variable
from sekha_llm_bridge.cli.migrate_env.values import Values
from sekha_llm_bridge.cli.migrate_env.yaml_file import as_node

_MAX_REFERENCES = 5


def settings_tree(values: Values) -> dict[str, V1Node]:
    """Returns the tree of the file's settings. What cannot be placed is added to the report."""
    source, report = values.source, values.report
    tree: dict[str, V1Node] = dict(source.settings)
    for variable, path in sorted(_settings(values), key=lambda pair: len(pair[1])):  # the whole before its parts
        node = _parsed(_followed(variable, source), report)
        if node is not None and not _place(tree, path, node):
            report.leave_out(variable.name, "no entry of the list or section has this place")
    return tree


def _settings(values: Values) -> Iterator[tuple[Variable, list[str]]]:
    source = values.source
    for variable in source.variables.values():
        name = SETTING_OF.get(variable.name, variable.name)
        is_double = name != variable.name and name in source.variables
        if is_setting(name) and not is_double and values.has_value(variable):
            yield variable, name.removeprefix(SETTING_PREFIX).lower().split("__")


def _followed(variable: Variable, source: Source) -> Variable:
    """Returns the variable with the value of the one that it only refers to, so that references in JSON are kept."""
    for _ in range(_MAX_REFERENCES):
        name = referenced_name(variable.raw)
        raw = source.references.get(name) if name else None
        if not raw or raw == variable.raw:
            break
        variable = variable._replace(raw=raw)
    return variable


def _parsed(variable: Variable, report: Report) -> V1Node | None:
    """Returns the value, parsed if it is an object or a list in JSON; None if that is malformed."""
    text = variable.raw.strip()
    if not text.startswith(("[", "{")):
        return Raw(variable.raw, variable.name)
    try:
        return as_node(json.loads(text, parse_float=str), variable.name)
    except ValueError as exc:
        line = f", line {exc.lineno} of the value" if isinstance(exc, json.JSONDecodeError) else ""
        report.leave_out(variable.name, f"its value is not valid JSON{line}")
        return None


def _place(tree: dict[str, V1Node], path: Sequence[str], node: V1Node) -> bool:
    """Puts the node at its place in the tree. Returns whether there is such a place."""
    here: V1Node = tree
    for step, following in pairwise(path):
        child = _child(here, step)
        if child is None:
            if not isinstance(here, dict) or following.isdecimal():
                return False
            child = here[step] = {}
        here = child
    return _set(here, path[-1], node)


def _child(here: V1Node, step: str) -> V1Node | None:
    if isinstance(here, dict):
        return here.get(step)
    if isinstance(here, list) and step.isdecimal() and int(step) < len(here):
        return here[int(step)]
    return None


def _set(here: V1Node, step: str, node: V1Node) -> bool:
    if isinstance(here, dict):
        here[step] = node
        return True
    if isinstance(here, list) and step.isdecimal() and int(step) < len(here):
        here[int(step)] = node
        return True
    return False


def report_other_variables(values: Values) -> None:
    """Adds every variable with a value that is not carried over to the report, and names those of other programs."""
    source, report = values.source, values.report
    for place in source.unreadable:
        report.leave_out(place, "not NAME=value")
    for variable in source.variables.values():
        if variable.name in values.used or is_carried(variable.name) or not values.has_value(variable):
            continue
        reason = reason_elsewhere(variable.name) or reason_unknown(variable.name)
        if reason:
            report.leave_out(variable.name, reason)
        else:
            report.foreign.append(variable.name)
