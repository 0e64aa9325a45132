"""Compares the answer that a page shows with the one that the stack gave: the same fields, with values of a kind."""

import ast
import json
import re
from typing import Any

_REMARK = re.compile(r"\s{2,}#.*$")


def shown_in_comments(code: str) -> Any:
    """Returns the JSON that ends a Python block as comments; None where there is none. A remark after a value is left
    out.
    """
    lines = code.rstrip().splitlines()
    start = len(lines)
    while start and lines[start - 1].startswith("#"):
        start -= 1
    text = "\n".join(_REMARK.sub("", line.removeprefix("#")) for line in lines[start:])
    return json.loads(text) if text.strip().startswith("{") else None


def printed_value(output: str) -> Any:
    """Returns the value that `print` wrote, or the text itself."""
    try:
        return ast.literal_eval(output)
    except (SyntaxError, ValueError):
        return output


def json_values(output: str) -> list[Any]:
    """Returns the JSON values in the output of a command, one after the other. Raises ValueError for other text."""
    values, text, decoder = [], output.strip(), json.JSONDecoder()
    while text:
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:].lstrip()
    return values


def differences(shown: Any, real: Any, path: str = "answer") -> list[str]:
    """Returns where the real answer lacks what is shown, or has another kind of value. A shown null may be any value,
    and so may a text that ends with an ellipsis.
    """
    if isinstance(shown, dict) and isinstance(real, dict):
        missing = [f"{path} has no {key}" for key in shown.keys() - real.keys()]
        return missing + [
            line for key in shown.keys() & real.keys() for line in differences(shown[key], real[key], f"{path}.{key}")
        ]
    if isinstance(shown, list) and isinstance(real, list):
        if shown and not real:
            return [f"{path} is empty"]
        return [line for pair in zip(shown, real, strict=False) for line in differences(*pair, f"{path}[]")]
    return [] if shown is None or _kind(shown) == _kind(real) else [f"{path} is {real!r}, not like {shown!r}"]


def _kind(value: object) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
