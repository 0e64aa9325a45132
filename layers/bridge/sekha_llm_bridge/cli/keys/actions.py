"""What each command of `sekha-bridge keys` does. Results are on standard output, remarks on standard error."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from sekha_llm_bridge.access.keys.key_text import KeyText, new_key
from sekha_llm_bridge.access.keys.record import KeyRecord, UnreadableRecord
from sekha_llm_bridge.cli.deployment import NoDeployment, TableFailed, find_deployment
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.keys.changes import InvalidChange, changed
from sekha_llm_bridge.cli.keys.display import as_json, items_as_json, limits_of, print_key, print_keys, state_of
from sekha_llm_bridge.cli.keys.moments import moment_text, parse_duration
from sekha_llm_bridge.cli.keys.options import Changes
from sekha_llm_bridge.cli.keys.table import KeyChanged, KeyEnded, KeyTable, NoSuchKey
from sekha_llm_bridge.cli.terminal import make_console

_DONE, _NOT_DONE, _UNUSABLE, _NO_TABLE = 0, 1, 2, 3
_NEEDS_NO_KEY = "note: this bridge accepts requests without a key, too (locally `up --auth`, deployed AuthMode=keys)"
_WITHIN = "within a minute"  # as long as a function keeps what it has read

Action = Callable[[KeyTable, datetime], None]


def create(stack: str | None, changes: Changes, *, is_json: bool) -> int:
    """Makes a key and prints it. Returns the exit code."""
    return _run(stack, partial(_create, changes=changes, is_json=is_json), partial(_check_changes, changes))


def list_all(stack: str | None, *, is_json: bool) -> int:
    """Prints all keys. Returns the exit code."""
    return _run(stack, partial(_list_all, is_json=is_json))


def show(stack: str | None, reference: str, *, is_json: bool) -> int:
    """Prints one key. Returns the exit code."""
    return _run(stack, partial(_show, reference=reference, is_json=is_json))


def update(stack: str | None, reference: str, changes: Changes, *, is_json: bool) -> int:
    """Changes what a key may do. Returns the exit code."""
    action = partial(_update, reference=reference, changes=changes, is_json=is_json)
    return _run(stack, action, partial(_check_update, changes))


def rotate(stack: str | None, reference: str, keep_old: str | None, *, is_json: bool) -> int:
    """Makes another secret for a key, and prints the new key. Returns the exit code."""
    action = partial(_rotate, reference=reference, keep_old=keep_old, is_json=is_json)
    return _run(stack, action, lambda _now: _kept_for(keep_old))


def revoke(stack: str | None, references: Sequence[str], *, is_json: bool) -> int:
    """Revokes keys. Returns the exit code."""
    return _run(stack, partial(_revoke, references=references, is_json=is_json))


def _run(stack: str | None, action: Action, check: Callable[[datetime], object] | None = None) -> int:
    """Runs `check`, which raises `InvalidChange`, before anything is asked of AWS; then the action."""
    now = datetime.now(UTC)
    try:
        if check:
            check(now)
        deployment = find_deployment(stack)
        _remark(f"using {deployment.name}")
        action(KeyTable(deployment), now)
        if not deployment.needs_keys:
            _remark(_NEEDS_NO_KEY)
    except (InvalidChange, NoDeployment) as exc:
        return _failed(exc, _UNUSABLE)
    except (NoSuchKey, KeyEnded, KeyChanged, UnreadableRecord) as exc:
        return _failed(exc, _NOT_DONE)
    except TableFailed as exc:
        return _failed(exc, _NO_TABLE)
    return _DONE


def _check_changes(changes: Changes, now: datetime) -> None:
    changed(KeyRecord("", "", "", now), changes, now)


def _check_update(changes: Changes, now: datetime) -> None:
    if changes == Changes():
        raise InvalidChange("nothing to change: give an option, see `sekha-bridge keys update --help`")
    _check_changes(changes, now)


def _create(table: KeyTable, now: datetime, *, changes: Changes, is_json: bool) -> None:
    key = new_key()
    record = changed(KeyRecord(key.key_id, key.digest, "", now), changes, now)
    table.add(record)
    _print_new(key, record, now, is_json=is_json)


def _list_all(table: KeyTable, now: datetime, *, is_json: bool) -> None:
    items = table.items()
    if is_json:
        _print_json(items_as_json(items, now))
    elif items:
        print_keys(make_console(), items, now)
    else:
        _remark("there is no key: make one with `sekha-bridge keys create`")


def _show(table: KeyTable, now: datetime, *, reference: str, is_json: bool) -> None:
    _print(table.read(reference), now, is_json=is_json)


def _update(table: KeyTable, now: datetime, *, reference: str, changes: Changes, is_json: bool) -> None:
    before = table.read(reference)
    if before.revoked:
        raise _ended(before, now)
    after = changed(before, changes, now)
    table.replace(before, after)
    _print(after, now, is_json=is_json)
    _remark(f"in force {_WITHIN}")


def _rotate(table: KeyTable, now: datetime, *, reference: str, keep_old: str | None, is_json: bool) -> None:
    kept_for = _kept_for(keep_old)
    before = table.read(reference)
    if state_of(before, now) != "valid":
        raise _ended(before, now)
    key = new_key(before.key_id)
    after = before.rotated(key, keep_until=now + kept_for if kept_for else None)
    table.replace(before, after)
    _print_new(key, after, now, is_json=is_json)
    end = f"at {moment_text(after.earlier_until)}" if after.earlier_until else _WITHIN
    _remark(f"the old key ends {end}")


def _revoke(table: KeyTable, now: datetime, *, references: Sequence[str], is_json: bool) -> None:
    key_ids = [table.existing_handle_of(reference) for reference in references]  # all, before any is revoked
    revoked = [{"id": key_id, "revoked": table.revoke(key_id, now).isoformat()} for key_id in key_ids]
    if is_json:
        _print_json(revoked)
    else:
        for key_id in key_ids:
            sys.stdout.write(f"{key_id} is revoked\n")
    _remark(f"no request with it is accepted any more {_WITHIN}")


def _ended(record: KeyRecord, now: datetime) -> KeyEnded:
    state = state_of(record, now)
    remedy = "" if record.revoked else ", or let it expire later with `sekha-bridge keys update --expires`"
    return KeyEnded(f"{record.key_id} is {state}: make a new key with `sekha-bridge keys create`{remedy}")


def _kept_for(text: str | None) -> timedelta | None:
    try:
        return parse_duration(text) if text else None
    except ValueError as exc:
        raise InvalidChange(f"--keep-old: {exc}") from exc


def _print_new(key: KeyText, record: KeyRecord, now: datetime, *, is_json: bool) -> None:
    """Prints the text of a key: alone on standard output, so that a script can store it."""
    if is_json:
        _print_json({"key": key.text, **as_json(record, now)})
    else:
        sys.stdout.write(f"{key.text}\n")
    limits = ", ".join(f"{name} {value}" for name, value in limits_of(record.policy).items())
    _remark(f"{record.key_id} {record.name}".rstrip() + f": {limits or 'no limits'}")
    _remark("store the key now: it is not shown again")


def _print(record: KeyRecord, now: datetime, *, is_json: bool) -> None:
    if is_json:
        _print_json(as_json(record, now))
    else:
        print_key(make_console(), record, now)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")


def _remark(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{printable(text)}\n")


def _failed(error: Exception, code: int) -> int:
    _remark(str(error))
    return code
