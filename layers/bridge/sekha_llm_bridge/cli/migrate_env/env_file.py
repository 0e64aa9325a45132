"""Reads a `.env`: quotes, comments, `export`, values of several lines, CRLF."""

from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from sekha_llm_bridge.cli.migrate_env.source import Source, Variable


def parse_env(path: Path, text: str) -> Source:
    """Returns the variables of a `.env`. The names are in upper case, because v1 ignored the case.

    Of a variable that is given twice, the last value counts, as in v1.
    """
    variables: dict[str, Variable] = {}
    unreadable, notes = [], []
    for binding in parse_stream(StringIO(text.replace("\r\n", "\n"))):
        if binding.error or not _is_name(binding.key or "A"):
            unreadable.append(f"line {binding.original.line}")
        elif binding.key and binding.value is not None:
            variable = _variable(binding)
            if variable.name in variables:
                notes.append(f"{variable.name} is given twice: the value in line {variable.line} is used")
            variables[variable.name] = variable
    references = {name: variable.raw for name, variable in variables.items()}
    return Source(path, variables, references, unreadable=tuple(unreadable), notes=tuple(notes))


def _variable(binding: Binding) -> Variable:
    written = binding.original.string.partition("=")[2].lstrip(" \t")
    name, value = (binding.key or "").upper(), binding.value or ""
    return Variable(name, value, binding.original.line, is_literal=written.startswith("'"))


def _is_name(key: str) -> bool:
    return key.replace(".", "_").replace("-", "_").isidentifier()
