"""Whether this bridge needs API keys: the environment variable AUTH_MODE is `keys` or `none`."""

import os


def needs_keys() -> bool:
    """Returns whether this bridge needs API keys. `sam local` sets AWS_SAM_LOCAL, and has no table of keys."""
    return os.environ.get("AUTH_MODE", "none") == "keys" and not os.environ.get("AWS_SAM_LOCAL")
