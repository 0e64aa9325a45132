"""SnapStart: runs the hooks before the snapshot and after the restore, in the order of Lambda's own runtime."""

from collections.abc import Callable
from typing import Any

from sekha_llm_bridge.lambda_runtime.error_report import init_error_report
from sekha_llm_bridge.lambda_runtime.logs import log_error_report
from sekha_llm_bridge.lambda_runtime.runtime_api import RuntimeApi

Hook = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]
_EXIT_SNAPSHOT_FAILED, _EXIT_RESTORE_FAILED = 64, 65


def take_snapshot(api: RuntimeApi) -> None:
    """Returns in a restored environment. Raises `SystemExit` with the exit code of Lambda's own runtime for the
    error."""
    before, after = _hooks()
    try:
        while before:
            _call(before.pop())
        api.wait_for_restore()
    except BaseException as exc:
        log_error_report(report := init_error_report(exc))
        api.fail_init(report, "Runtime.BeforeSnapshotError")
        raise SystemExit(_EXIT_SNAPSHOT_FAILED) from exc
    try:
        for hook in after:
            _call(hook)
    except BaseException as exc:
        log_error_report(report := init_error_report(exc))
        api.fail_restore(report)
        raise SystemExit(_EXIT_RESTORE_FAILED) from exc


def _hooks() -> tuple[list[Hook], list[Hook]]:
    """Returns the hooks that the function registered for before the snapshot and after the restore."""
    try:
        import snapshot_restore_py  # type: ignore[import-untyped]  # part of Lambda's runtime, and only there
    except ImportError:
        return [], []
    return snapshot_restore_py.get_before_snapshot(), snapshot_restore_py.get_after_restore()


def _call(hook: Hook) -> None:
    function, positional, named = hook
    function(*positional, **named)
