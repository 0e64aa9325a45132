"""The commands and their options. What they do is in modules of their own, imported when the command runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="sekha-bridge",
    help="One OpenAI-compatible door to many language-model providers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local variable may hold a key
)

# `up` hands everything on, `--help` too.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

# Of `health --interval`. The longest is a day: no machine waits for `inf` or `nan`.
_SHORTEST_S, _LONGEST_S = 0.5, 86_400.0

ConfigPath = Annotated[
    Path | None, typer.Argument(help="The YAML file; by default the one of LLM_CONFIG_PATH, else the bundled one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The YAML file; by default the one of LLM_CONFIG_PATH, else the bundled one."),
]
ChromaUrl = Annotated[
    str | None,
    typer.Option("--chroma-url", envvar="CHROMA_URL", metavar="URL", help="The Chroma server; else the file's."),
]
ChromaToken = Annotated[
    str | None,
    typer.Option("--chroma-token", envvar="CHROMA_TOKEN", metavar="TOKEN", help="Where the server asks for one."),
]
BackupFile = Annotated[
    Path, typer.Argument(help="The backup: gzip of JSON lines, for `zcat | jq`.", show_default=False)
]
CollectionNames = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="NAME", help="Only this collection; more than once for more than one."),
]


def _print_version(asked: bool) -> None:  # noqa: FBT001 — the form that typer calls
    if asked:
        from sekha_llm_bridge import __version__

        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


def _check_interval(seconds: float) -> float:
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise typer.BadParameter(f"{seconds:g} is not between {_SHORTEST_S:g} and {_LONGEST_S:g} seconds")
    return seconds


@app.callback()
def main(*, version: Version = False) -> None:
    """One OpenAI-compatible door to many language-model providers."""


@app.command("up", context_settings=_PASS_ON, add_help_option=False)
def up(context: typer.Context) -> None:
    """Start the whole bridge on this machine; `up --help` lists the options."""
    from sekha_llm_bridge.cli.local_stack import start

    start(context.args)


@app.command("check-config")
def check_config(file: ConfigPath = None, *, as_json: AsJson = False) -> None:
    """Check the configuration and show what it gives. Exit code 2 and every fault when it cannot be used."""
    from sekha_llm_bridge.cli.check_config import run

    raise typer.Exit(run(file, as_json=as_json))


@app.command("migrate-env")
def migrate_env(
    file: Annotated[Path, typer.Argument(help="The .env that v1 used.")] = Path(".env"),
) -> None:
    """Print the YAML that replaces a v1 .env; put it into config/llm_providers.yaml."""
    from sekha_llm_bridge.cli.migrate_env import run

    raise typer.Exit(run(file))


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from sekha_llm_bridge.config.schema import schema_text

    sys.stdout.write(schema_text())


@app.command("health")
def health(
    *,
    url: Annotated[
        str, typer.Option(envvar="SEKHA_BRIDGE_URL", metavar="URL", help="The bridge; /v1 at the end does no harm.")
    ] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, typer.Option(envvar="SEKHA_BRIDGE_API_KEY", metavar="KEY", help="Where the bridge asks for one.")
    ] = None,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", callback=_check_interval, help="Between two reports; at least 0.5.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show one report and end, on a terminal too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one report as the bridge gave it, for scripts.")
    ] = False,
) -> None:
    """Show how the providers do: on a terminal a live table until Ctrl-C, else one report.

    Exit codes:
    0 healthy
    1 degraded
    2 unhealthy, or an option is wrong
    3 no report: the bridge cannot be reached, or what answers is no health report

    Ctrl-C ends the live table with the code of the last report.
    """
    from sekha_llm_bridge.cli.health.command import run

    raise typer.Exit(run(url, api_key, interval_s=interval, once=once, as_json=as_json))


@app.command("migrate-collections")
def migrate_collections(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what is merged into another one where it is.")] = False,
    as_json: AsJson = False,
    config: ConfigOption = None,
    chroma_url: ChromaUrl = None,
    chroma_token: ChromaToken = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            envvar="STATE_TABLE",
            metavar="NAME",
            help="The DynamoDB table of the deployed bridge: by a lease in it, only one migrates at a time.",
        ),
    ] = None,
) -> None:
    """Rename collections to `{name}_{dimension}`, or merge them into those of that name. It can be run again any time.

    Exit codes:
    0 everything is as it should be
    1 something failed, or was not come to
    2 an option is wrong, or Chroma cannot be reached
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.migrate_collections import Options, run

    options = Options(dry_run, keep, as_json, config, chroma_url, chroma_token, table)
    raise typer.Exit(run(options))


@app.command("backup")
def backup(
    file: BackupFile,
    *,
    collections: CollectionNames = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, whatever a backup before left.")] = False,
    as_json: AsJson = False,
    config: ConfigOption = None,
    chroma_url: ChromaUrl = None,
    chroma_token: ChromaToken = None,
) -> None:
    """Write collections of the Chroma server to a file, and check it.

    After a break of less than an hour, run it again: it goes on, and says since when.

    Exit codes:
    0 written and verified
    1 written, and found damaged; or something deletes records all the time
    2 an option is wrong, Chroma or the file cannot be reached, or another backup writes the file
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.backup import Options, run

    options = Options(tuple(collections or ()), force, restart, as_json, config, chroma_url, chroma_token)
    raise typer.Exit(run(file, options))


@app.command("restore")
def restore(
    file: BackupFile,
    *,
    collections: CollectionNames = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: AsJson = False,
    config: ConfigOption = None,
    chroma_url: ChromaUrl = None,
    chroma_token: ChromaToken = None,
) -> None:
    """Bring a backup's collections back to the Chroma server. Its records replace those of the same id, newer ones too
    (--dry-run counts them); other records there stay. It can be run again any time.

    Exit codes:
    0 everything of the file is on the server
    1 a collection was refused, or is not as in the file
    2 an option is wrong, the file is damaged, or Chroma cannot be reached
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.restore import Options, run

    options = Options(tuple(collections or ()), dry_run, as_json, config, chroma_url, chroma_token)
    raise typer.Exit(run(file, options))
