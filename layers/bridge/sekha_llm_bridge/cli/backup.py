"""`sekha-bridge backup`: collections of a Chroma server into a file."""

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from sekha_llm_bridge.cli.chroma_options import WrongOptions, server_of
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.transfer_progress import shown
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

_TIMEOUT_S = 60.0  # a page of large records, or a write that has the server tidy up its index
_NOT_VERIFIED, _NOT_POSSIBLE, _INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for; `names` are the collections, all of them where it is empty."""

    names: tuple[str, ...]
    force: bool
    restart: bool
    as_json: bool
    config: Path | None
    chroma_url: str | None
    chroma_token: str | None


def run(path: Path, options: Options) -> int:
    """Writes the file and prints what is in it. Returns the exit code."""
    if path.is_dir():
        return _failed(f"{path} is a folder: give the name of a file", _NOT_POSSIBLE)
    if path.exists() and not options.force:
        return _failed(f"{path} exists already: give another name, or --force to replace it", _NOT_POSSIBLE)
    try:
        server = server_of(options.config, options.chroma_url, options.chroma_token, timeout_s=_TIMEOUT_S)
        with shown(as_json=options.as_json) as show:
            done = back_up(server, path, names=options.names, now=_now, on_progress=show, restart=options.restart)
    except DamagedBackup as exc:
        return _failed(f"not verified: {exc}; remove the file and run this again", _NOT_VERIFIED)
    except CollectionKeepsShrinking as exc:
        return _failed(str(exc), _NOT_VERIFIED)
    except (BackupInProgress, UnknownCollections, WrongOptions) as exc:
        return _failed(str(exc), _NOT_POSSIBLE)
    except (StoreFailed, OSError) as exc:
        return _failed(f"{exc}{_goes_on(path)}", _NOT_POSSIBLE)
    except KeyboardInterrupt:
        return _failed(f"interrupted{_goes_on(path)}", _INTERRUPTED)
    if options.as_json:
        sys.stdout.write(json.dumps(_document(path, done), indent=2) + "\n")
    else:
        _print(path, done)
    return 0


def _goes_on(path: Path) -> str:
    """What to do about a backup that ended early, where something of it is there."""
    partial = partial_path(path)
    return f"\nrun the same command again within an hour: it goes on where {partial} ends" if partial.exists() else ""


def _document(path: Path, done: Backup) -> dict[str, object]:
    return {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "begun_at": done.started_at,
        "went_on": done.was_resumed,
        "collections": [asdict(one) for one in done.collections],
    }


def _print(path: Path, done: Backup) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    console.print(_table(done))
    for note in _notes(done):
        console.print(Text.assemble(("note:", "yellow"), f" {note}"))
    records = sum(one.records for one in done.collections)
    size = decimal(path.stat().st_size)
    said = f"{printable(str(path))}: {len(done.collections)} collections, {records:,} records, {size}, "
    console.print(Text.assemble(said, ("verified", "green")))


def _table(done: Backup) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("collection", overflow="fold")
    for heading in ("records", "size"):
        table.add_column(heading, justify="right")
    table.add_column("checksum")
    for one in done.collections:
        table.add_row(printable(one.name), f"{one.records:,}", decimal(one.line_bytes), one.checksum[:12])
    return table


def _notes(done: Backup) -> list[str]:
    began = [f"this goes on with what was begun at {printable(done.started_at)}"] if done.was_resumed else []
    return began + [_difference(one) for one in done.collections if not one.is_complete]


def _difference(one: BackedUpCollection) -> str:
    name = printable(one.name)
    if one.on_server is None:
        return f"{name} was deleted meanwhile; the file has what was read of it"
    return f"{name} has {one.on_server:,} records now, {one.records:,} are in the file: something wrote meanwhile"


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code


def _now() -> datetime:
    return datetime.now(UTC)
