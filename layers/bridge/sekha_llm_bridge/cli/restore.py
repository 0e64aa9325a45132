"""`sekha-bridge restore`: writes the collections of a backup file to a Chroma server."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from sekha_llm_bridge.cli.chroma_options import ChromaOptions, InvalidOptions, chroma_server, problem_text
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.terminal import make_console
from sekha_llm_bridge.cli.transfer_progress import progress_display
from sekha_llm_bridge.embeddings.backup.reading import DamagedBackup
from sekha_llm_bridge.embeddings.backup.restoring import (
    PlannedRestore,
    RestoreResult,
    count_replacements,
    plan,
    restore,
)
from sekha_llm_bridge.embeddings.backup.writing import UnknownCollections
from sekha_llm_bridge.embeddings.store import StoreFailed

_TIMEOUT_S = 60.0  # enough for a write during which the server compacts its index
_NOT_VERIFIED, _NOT_POSSIBLE, _INTERRUPTED = 1, 2, 130
_RUN_AGAIN = "\nrun the same command again: it is safe, and completes the restore"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command. `names`: the collections to restore; empty for all of the file."""

    names: tuple[str, ...]
    dry_run: bool
    as_json: bool
    chroma: ChromaOptions


def run(path: Path, options: Options) -> int:
    """Restores the file and prints the outcome of each collection. Returns the exit code."""
    has_begun, url = False, ""
    try:
        server = chroma_server(options.chroma, timeout_s=_TIMEOUT_S)
        url = server.url
        plans = plan(server, path, names=options.names)
        if options.dry_run:
            return _show_plan(plans, count_replacements(server, path, plans), as_json=options.as_json)
        has_begun = True
        with progress_display(as_json=options.as_json) as show:
            results = restore(server, path, plans, on_progress=show)
    except (DamagedBackup, UnknownCollections, InvalidOptions) as exc:
        return _failed(str(exc), _NOT_POSSIBLE)
    except StoreFailed as exc:
        return _failed(f"{problem_text(url, exc)}{_RUN_AGAIN if has_begun else ''}", _NOT_POSSIBLE)
    except OSError as exc:
        return _failed(f"{path}: {exc.strerror or exc}{_RUN_AGAIN if has_begun else ''}", _NOT_POSSIBLE)
    except KeyboardInterrupt:
        return _failed(f"interrupted{_RUN_AGAIN if has_begun else ': nothing was written'}", _INTERRUPTED)
    return _show(results, as_json=options.as_json)


def _show_plan(plans: Sequence[PlannedRestore], replaced: Mapping[str, int], *, as_json: bool) -> int:
    if as_json:
        _print_json([{**_planned_data(one), "would_be_replaced": replaced[one.name]} for one in plans])
    else:
        _print(_table(plans, [_intention(one, replaced[one.name]) for one in plans]))
    return _NOT_VERIFIED if any(one.refusal for one in plans) else 0


def _show(results: Sequence[RestoreResult], *, as_json: bool) -> int:
    if as_json:
        _print_json([_restored_data(one) for one in results])
    else:
        _print(_table([one.planned for one in results], [_outcome(one) for one in results]))
    return 0 if all(one.is_verified for one in results) else _NOT_VERIFIED


def _intention(one: PlannedRestore, replaced: int) -> str:
    if one.refusal:
        return f"refused: {one.refusal}"
    if one.existing_records is None:
        return "would be created"
    return f"would be added to the {one.existing_records:,} records on the server, and replace {replaced:,} of them"


def _outcome(one: RestoreResult) -> str:
    if one.refusal:
        return f"refused: {one.refusal}"
    if one.differing:
        return f"not verified: {one.differing:,} records are missing or differ on the server"
    if not one.is_verified:
        return f"not verified: the server has {one.on_server:,} records"
    rounded = f", {one.rounded:,} with rounded vectors" if one.rounded else ""
    replaced = f", {one.replaced:,} of them replaced records with the same id" if one.replaced else ""
    return f"verified, {one.written:,} written{replaced}{rounded}"


def _table(plans: Sequence[PlannedRestore], outcomes: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("collection", overflow="fold")
    for heading in ("records", "size"):
        table.add_column(heading, justify="right")
    table.add_column("checksum")
    table.add_column("", overflow="fold")
    for one, outcome in zip(plans, outcomes, strict=True):
        size, end = decimal(one.contents.line_bytes), one.contents.end
        table.add_row(printable(one.name), f"{end.records:,}", size, end.checksum[:12], printable(outcome))
    return table


def _print(table: Table) -> None:
    make_console().print(table)


def _print_json(collections: list[dict[str, Any]]) -> None:
    sys.stdout.write(json.dumps({"collections": collections}, indent=2) + "\n")


def _planned_data(one: PlannedRestore) -> dict[str, Any]:
    end = one.contents.end
    return {
        "name": one.name,
        "records": end.records,
        "line_bytes": one.contents.line_bytes,
        "checksum": end.checksum,
        "held_before": one.existing_records,
        "refusal": one.refusal,
    }


def _restored_data(one: RestoreResult) -> dict[str, Any]:
    return {
        **_planned_data(one.planned),
        "refusal": one.refusal,
        "written": one.written,
        "replaced": one.replaced,
        "differing": one.differing,
        "rounded": one.rounded,
        "on_server": one.on_server,
        "verified": one.is_verified,
    }


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code
