"""The command: prints the YAML on standard output, and on standard error what the user must know."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.migrate_env.migration import Migration, migrate
from sekha_llm_bridge.cli.migrate_env.source import UnusableFile

_INCOMPLETE, _UNUSABLE = 1, 2


def run(file: Path, service: str | None, *, as_json: bool) -> int:
    """Prints the YAML for the v1 file. Returns the exit code: 0, 1 when something was left out, 2 for no v1 file."""
    try:
        done = migrate(file, service)
    except UnusableFile as exc:
        sys.stderr.write(f"{printable(str(exc))}\n")
        return _UNUSABLE
    if as_json:
        sys.stdout.write(json.dumps(_document(done), indent=2) + "\n")
    else:
        sys.stdout.write(done.yaml)
        sys.stdout.flush()
        sys.stderr.writelines(f"{printable(line)}\n" for line in _messages(done))
    return 0 if done.is_complete else _INCOMPLETE


def _document(done: Migration) -> dict[str, object]:
    report = done.report
    return {
        "yaml": done.yaml,
        "is_complete": done.is_complete,
        "left_out": [{"setting": place, "reason": reason} for place, reason in report.left_out.items()],
        "secrets": list(report.secrets),
        "notes": report.notes,
        "other_programs": report.foreign,
    }


def _messages(done: Migration) -> Iterator[str]:
    report = done.report
    for note in report.notes:
        yield f"note: {note}"
    if report.secrets:
        yield (
            "no secret is in the YAML: set these in the bridge's environment, or put ${ssm:/…} in their place: "
            + ", ".join(_secret(name, place) for name, place in report.secrets.items())
        )
    for reason, places in report.places_by_reason().items():
        yield f"not carried over: {', '.join(places)}: {reason}"


def _secret(name: str, place: str) -> str:
    return name if name == place else f"{name} (the value of {place})"
