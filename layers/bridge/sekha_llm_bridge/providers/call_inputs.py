"""The input of a call in Anthropic's form: an object."""

from contextlib import suppress
from typing import Any

import orjson


def input_object(arguments: object) -> dict[str, Any]:
    """Returns the input of a call, which must be an object; the text itself in one, where it is none: it may have been
    cut off.
    """
    found = arguments
    if isinstance(arguments, str):
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(arguments or "{}")
    found = found or {}
    return found if isinstance(found, dict) else {"arguments": found}
