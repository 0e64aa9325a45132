"""Filter patterns of CloudWatch Logs for lines in JSON: the part of their syntax that templates here use.

A pattern is `{ comparison && comparison … }`, each as `$.name = "text"` or `$.name > 5`, also in parentheses:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_COMPARISON = re.compile(r'\$\.(?P<name>\w+)\s*(?P<operator>>=|<=|!=|=|>|<)\s*(?P<value>"[^"]*"|-?\d+(\.\d+)?)')
_NUMERIC: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class LogPatternError(Exception):
    """The pattern is invalid, or the local stack does not support it."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    name: str
    is_true: Callable[[Any, Any], bool]
    value: str | float

    def matches(self, fields: Mapping[str, Any]) -> bool:
        found = fields.get(self.name)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        is_comparable = is_number if isinstance(self.value, float) else isinstance(found, str)
        return is_comparable and self.is_true(found, self.value)


@dataclass(frozen=True, slots=True)
class LogPattern:
    """A pattern; one without comparisons matches every line."""

    comparisons: tuple[_Comparison, ...]

    def matches(self, line: str) -> bool:
        """Whether a line of a log matches."""
        if not self.comparisons:
            return True
        try:
            fields = json.loads(line)
        except ValueError:
            return False
        return isinstance(fields, dict) and all(one.matches(fields) for one in self.comparisons)


def parse(pattern: str) -> LogPattern:
    """Parses a filter pattern. Raises LogPatternError."""
    text = pattern.strip()
    if not text:
        return LogPattern(())
    if not (text.startswith("{") and text.endswith("}")):
        raise LogPatternError(f"{pattern}: the local stack supports only patterns for JSON, in braces")
    return LogPattern(tuple(_comparison(part) for part in text[1:-1].split("&&")))


def _comparison(part: str) -> _Comparison:
    text = part.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    found = _COMPARISON.fullmatch(text)
    if not found:
        raise LogPatternError(f'{text}: expected a comparison such as $.name = "text" or $.name > 5')
    value = found["value"][1:-1] if found["value"].startswith('"') else float(found["value"])
    if isinstance(value, str) and found["operator"] not in {"=", "!="}:
        raise LogPatternError(f"{text}: texts can be compared by = and != only")
    return _Comparison(found["name"], _NUMERIC[found["operator"]], value)
