"""`sekha-bridge backup`: collections of a Chroma server into a file."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from sekha_llm_bridge.cli.chroma_options import WrongOptions, server_of
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.transfer_progress import shown
from sekha_llm_bridge.embeddings.backup.reading import DamagedBackup
from sekha_llm_bridge.embeddings.backup.writing import BackedUp, UnknownCollections, back_up, partial_path
from sekha_llm_bridge.embeddings.store import StoreFailed

_TIMEOUT_S = 60.0  # a page of large records, or a write that has the server tidy up its index
_NOT_VERIFIED, _NOT_POSSIBLE, _INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for; `names` are the collections, all of them where it is empty."""

    names: tuple[str, ...]
    force: bool
    as_json: bool
    config: Path | None
    chroma_url: str | None
    chroma_token: str | None


def run(path: Path, options: Options) -> int:
    """Writes the file and prints what is in it. Returns the exit code."""
    if path.exists() and not options.force:
        return _failed(f"{path} exists already: give another name, or --force to replace it", _NOT_POSSIBLE)
    try:
        server = server_of(options.config, options.chroma_url, options.chroma_token, timeout_s=_TIMEOUT_S)
        with shown(as_json=options.as_json) as show:
            done = back_up(server, path, names=options.names, now=_now, told=show)
    except DamagedBackup as exc:
        return _failed(f"not verified: {exc}; remove the file and run this again", _NOT_VERIFIED)
    except (UnknownCollections, WrongOptions) as exc:
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
    return f"\nrun the same command again: it goes on where {partial} ends" if partial.exists() else ""


def _document(path: Path, done: Sequence[BackedUp]) -> dict[str, object]:
    return {"file": str(path), "file_bytes": path.stat().st_size, "collections": [asdict(one) for one in done]}


def _print(path: Path, done: Sequence[BackedUp]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("collection", overflow="fold")
    for heading in ("records", "size"):
        table.add_column(heading, justify="right")
    table.add_column("checksum")
    for one in done:
        table.add_row(printable(one.name), f"{one.records:,}", decimal(one.line_bytes), one.checksum[:12])
    console.print(table)
    for one in done:
        if not one.is_everything:
            console.print(f"[yellow]note:[/] {_difference(one)}")
    records = sum(one.records for one in done)
    size = decimal(path.stat().st_size)
    console.print(f"{path}: {len(done)} collections, {records:,} records, {size}, [green]verified[/]", markup=True)


def _difference(one: BackedUp) -> str:
    if one.on_server is None:
        return f"{one.name} was deleted meanwhile; the file has what was read of it"
    return f"{one.name} has {one.on_server:,} records now, {one.records:,} are in the file: something wrote meanwhile"


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code


def _now() -> datetime:
    return datetime.now(UTC)
