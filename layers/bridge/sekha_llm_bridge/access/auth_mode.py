"""Whether this bridge needs API keys: the environment variable AUTH_MODE is `keys` or `none`."""

import os

_MODES = {"keys": True, "none": False}


def needs_keys() -> bool:
    """Returns whether this bridge needs API keys. `sam local` sets AWS_SAM_LOCAL, and has no table of keys.

    Without AUTH_MODE, a Lambda function needs keys: a variable that got lost opens nothing. Raises `ValueError` for
    another value.
    """
    if os.environ.get("AWS_SAM_LOCAL"):
        return False
    mode = os.environ.get("AUTH_MODE")
    if mode is None:
        return "AWS_LAMBDA_FUNCTION_NAME" in os.environ  # which Lambda sets
    if mode not in _MODES:
        raise ValueError(f"AUTH_MODE is keys or none, not {mode!r}")
    return _MODES[mode]
