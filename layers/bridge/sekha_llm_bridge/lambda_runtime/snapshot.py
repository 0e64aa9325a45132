"""SnapStart: the hooks around the snapshot, in the order of Lambda's own runtime."""

from collections.abc import Callable
from typing import Any

from sekha_llm_bridge.lambda_runtime.faults import init_fault
from sekha_llm_bridge.lambda_runtime.logs import log_fault
from sekha_llm_bridge.lambda_runtime.runtime_api import RuntimeApi

Hook = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]
_NO_SNAPSHOT, _NO_RESTORE = 64, 65


def pass_snapshot(api: RuntimeApi) -> None:
    """Returns in a restored copy. Raises `SystemExit` with the code that Lambda's own runtime has for the failure."""
    before, after = _hooks()
    try:
        while before:
            _call(before.pop())
        api.wait_for_restore()
    except BaseException as exc:
        log_fault(fault := init_fault(exc))
        api.fail_init(fault, "Runtime.BeforeSnapshotError")
        raise SystemExit(_NO_SNAPSHOT) from exc
    try:
        for hook in after:
            _call(hook)
    except BaseException as exc:
        log_fault(fault := init_fault(exc))
        api.fail_restore(fault)
        raise SystemExit(_NO_RESTORE) from exc


def _hooks() -> tuple[list[Hook], list[Hook]]:
    """What the function registered before the snapshot and after the restore."""
    try:
        import snapshot_restore_py  # type: ignore[import-untyped]  # of Lambda's runtime; needed for nothing else
    except ImportError:
        return [], []
    return snapshot_restore_py.get_before_snapshot(), snapshot_restore_py.get_after_restore()


def _call(hook: Hook) -> None:
    function, positional, named = hook
    function(*positional, **named)
