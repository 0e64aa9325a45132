"""Loads the handler of a function: this imports all that the function needs, and is most of the init phase."""

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sekha_llm_bridge.lambda_runtime.error_report import ErrorReport, ReportableError

# Its second argument is a `lambda_runtime.context.Context`.
Handler = Callable[[Any, Any], Any]


def load(name: str) -> Handler:
    """Returns the handler `module.attribute`, whose module may be a path with slashes. Raises `ReportableError`."""
    path, dot, attribute = name.rpartition(".")
    if not dot:
        raise ReportableError(
            ErrorReport("Runtime.MalformedHandlerName", f"Bad handler '{name}': it is to be module.attribute")
        )
    if path.split(".")[0] in sys.builtin_module_names:
        message = f"Cannot use built-in module {path} as a handler module"
        raise ReportableError(ErrorReport("Runtime.BuiltInModuleConflict", message))
    with _no_garbage_collection():
        module = _import(path)
    if not hasattr(module, attribute):
        raise ReportableError(
            ErrorReport("Runtime.HandlerNotFound", f"Handler '{attribute}' missing on module '{path}'")
        )
    handler: Handler = getattr(module, attribute)
    return handler


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Turns the search for unreachable objects off: it takes a tenth of the imports' instructions, and finds 500 of
    100,000 objects. What was made stays until the process ends, so no later search goes through it either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _import(path: str) -> object:
    try:
        return importlib.import_module(path.replace("/", "."))
    except ImportError as exc:
        raise ReportableError(
            ErrorReport("Runtime.ImportModuleError", f"Unable to import module '{path}': {exc}")
        ) from exc
    except SyntaxError as exc:
        place = f'  File "{exc.filename}" Line {exc.lineno}\n    {exc.text}'
        message = f"Syntax error in module '{path}': {exc}"
        raise ReportableError(ErrorReport("Runtime.UserCodeSyntaxError", message, (place,))) from exc
