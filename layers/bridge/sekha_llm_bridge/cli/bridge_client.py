"""A client of the bridge for commands, and what each of its errors means for a command: a message and an exit code."""

import math
import sys

from sekha_llm_bridge import (
    AuthenticationFailed,
    BridgeError,
    BridgeTimeout,
    BridgeUnreachable,
    InvalidOption,
    LlmBridge,
    NotABridge,
    PermissionDenied,
)
from sekha_llm_bridge.cli.bridge_options import NoSingleBridge, bridge_url
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.client.addresses import is_local

DONE, NO_ANSWER, WRONG_ARGUMENT, NO_BRIDGE, INTERRUPTED = 0, 1, 2, 3, 130

_TIMEOUT_S = 310.0  # API Gateway closes a connection after five minutes of silence
_NO_BRIDGE_ERRORS = (BridgeUnreachable, BridgeTimeout, NotABridge, AuthenticationFailed, PermissionDenied)
_OPTIONS = {"base_url": "--url (or SEKHA_BRIDGE_URL)", "api_key": "--api-key (or SEKHA_BRIDGE_API_KEY)"}


def open_bridge(url: str | None, api_key: str | None) -> LlmBridge:
    """Returns a client of the bridge at `url`, or of the local one. It repeats nothing, and uses no proxy for a bridge
    on this machine. Raises `InvalidOption` and `NoSingleBridge`.
    """
    address = bridge_url(url)
    return LlmBridge(address, api_key, timeout=_TIMEOUT_S, max_retries=0, trust_env=not is_local(address))


def report(error: Exception) -> int:
    """Prints an error on standard error. Returns the exit code."""
    sys.stdout.flush()  # so that the error comes after what was printed before
    sys.stderr.write(f"{printable(message_of(error))}\n")
    return exit_code_of(error)


def exit_code_of(error: Exception) -> int:
    """Returns the exit code of a command that ends with the error."""
    if isinstance(error, InvalidOption | NoSingleBridge):
        return WRONG_ARGUMENT
    return NO_BRIDGE if isinstance(error, _NO_BRIDGE_ERRORS) else NO_ANSWER


def message_of(error: Exception) -> str:
    """Returns the error in words, with what to do about it and the request's id."""
    if isinstance(error, InvalidOption):
        return f"{_OPTIONS.get(error.param or '', error.param)}: {error.problem}"
    if not isinstance(error, BridgeError):
        return str(error)
    parts = [" ".join(str(error).split())]
    if isinstance(error, AuthenticationFailed | PermissionDenied):
        parts.append("Check the key (--api-key or SEKHA_BRIDGE_API_KEY).")
    if error.retry_after_s is not None:
        parts.append(f"Try again in {math.ceil(error.retry_after_s)} s.")
    if error.request_id:
        parts.append(f"(request id {error.request_id})")
    return " ".join(parts)
