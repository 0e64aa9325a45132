"""The bridge that a command talks to: the one that its options name, else the running local stack."""

import sys

from sekha_llm_bridge.cli.running_stack import SeveralStacks, find_stack

DEFAULT_URL = "http://127.0.0.1:8000"


class NoSingleBridge(Exception):
    """Several local stacks run, and no option says which. The message names the option to give."""


def bridge_url(given: str | None) -> str:
    """Returns `given` (from the option or SEKHA_BRIDGE_URL), else the address of the running local stack, else that of
    `infra/local/up` by default. Prints on standard error that it uses the running stack. Raises `NoSingleBridge`.
    """
    if given is not None:
        return given
    try:
        stack = find_stack()
    except SeveralStacks as exc:
        raise NoSingleBridge(f"{exc}: choose one with --url or SEKHA_BRIDGE_URL") from exc
    if stack is None:
        return DEFAULT_URL
    sys.stderr.write(f"using {stack}\n")
    return stack.url
