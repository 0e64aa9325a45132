"""`sekha-bridge backup`: writes collections of a Chroma server to a file."""

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from sekha_llm_bridge.cli.chroma_options import (
    ChromaOptions,
    InvalidOptions,
    chroma_server,
    problem_text,
    require_database,
)
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.terminal import make_console
from sekha_llm_bridge.cli.transfer_progress import progress_display
from sekha_llm_bridge.embeddings.backup.partial_file import BackupInProgress, partial_path
from sekha_llm_bridge.embeddings.backup.reading import DamagedBackup
from sekha_llm_bridge.embeddings.backup.writing import (
    BackedUpCollection,
    Backup,
    CollectionKeepsShrinking,
    UnknownCollections,
    back_up,
)
from sekha_llm_bridge.embeddings.store import StoreFailed

_TIMEOUT_S = 60.0  # enough for a page of large records, and for a write during which the server compacts its index
_NOT_VERIFIED, _NOT_POSSIBLE, _INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command. `names`: the collections to write; empty for all."""

    names: tuple[str, ...]
    force: bool
    restart: bool
    as_json: bool
    chroma: ChromaOptions


def run(path: Path, options: Options) -> int:
    """Writes the file and prints its contents. Returns the exit code."""
    if path.is_dir():
        return _failed(f"{path} is a folder: give the name of a file", _NOT_POSSIBLE)
    if path.exists() and not options.force:
        return _failed(f"{path} exists already: give another name, or --force to replace it", _NOT_POSSIBLE)
    url = ""
    try:
        server = chroma_server(options.chroma, timeout_s=_TIMEOUT_S)
        url = server.url
        require_database(server, options.chroma)
        with progress_display(as_json=options.as_json) as show:
            done = back_up(
                server,
                path,
                names=options.names,
                now=lambda: datetime.now(UTC),
                on_progress=show,
                restart=options.restart,
            )
    except DamagedBackup as exc:
        return _failed(f"not verified: {exc}; remove the file and run this again", _NOT_VERIFIED)
    except CollectionKeepsShrinking as exc:
        return _failed(str(exc), _NOT_VERIFIED)
    except (BackupInProgress, UnknownCollections, InvalidOptions) as exc:
        return _failed(str(exc), _NOT_POSSIBLE)
    except StoreFailed as exc:
        return _failed(f"{problem_text(url, exc)}{_how_to_resume(path)}", _NOT_POSSIBLE)
    except OSError as exc:
        hint = _how_to_resume(path) if partial_path(path).exists() else ": nothing was written"
        return _failed(f"{path}: {exc.strerror or exc}{hint}", _NOT_POSSIBLE)
    except KeyboardInterrupt:
        return _failed(f"interrupted{_how_to_resume(path)}", _INTERRUPTED)
    if options.as_json:
        sys.stdout.write(json.dumps(_document(path, done), indent=2) + "\n")
    else:
        _print(path, done)
    return 0


def _how_to_resume(path: Path) -> str:
    """Returns how to resume the backup, or an empty text when it left no partial file."""
    partial = partial_path(path)
    if partial.exists():
        return f"\nrun the same command again within an hour: it resumes from {partial}"
    return ": nothing was written; run the same command again"


def _document(path: Path, done: Backup) -> dict[str, object]:
    return {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "begun_at": done.started_at,
        "went_on": done.was_resumed,
        "collections": [asdict(one) for one in done.collections],
    }


def _print(path: Path, done: Backup) -> None:
    console = make_console()
    console.print(_table(done))
    notes = [_difference(one) for one in done.collections if not one.is_complete]
    if done.was_resumed:
        notes.insert(0, f"resumed the backup that was started at {printable(done.started_at)}")
    for note in notes:
        console.print(Text.assemble(("note:", "yellow"), f" {note}"))
    records = sum(one.records for one in done.collections)
    size = decimal(path.stat().st_size)
    summary = f"{printable(str(path))}: {len(done.collections)} collections, {records:,} records, {size}, "
    console.print(Text.assemble(summary, ("verified", "green")))


def _table(done: Backup) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("collection", overflow="fold")
    for heading in ("records", "size"):
        table.add_column(heading, justify="right")
    table.add_column("checksum")
    for one in done.collections:
        table.add_row(printable(one.name), f"{one.records:,}", decimal(one.line_bytes), one.checksum[:12])
    return table


def _difference(one: BackedUpCollection) -> str:
    name = printable(one.name)
    if one.on_server is None:
        return f"{name} was deleted during the backup; the file has the records that were read before"
    return f"{name} has {one.on_server:,} records now, {one.records:,} are in the file: they changed during the backup"


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code
