"""The commands and their options. Each command imports the module that does its work when it runs."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sekha_llm_bridge.cli import client_commands
from sekha_llm_bridge.cli.command_group import CommandGroup
from sekha_llm_bridge.cli.completion import PROGRAM, Shell, enable_completion, install, show
from sekha_llm_bridge.cli.keys import commands as key_commands
from sekha_llm_bridge.cli.option_types import AsJson, BridgeKey, BridgeUrl
from sekha_llm_bridge.cli.usage import command as usage_command

_IS_PLAIN = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
_MARKUP: Literal["rich"] | None = None if _IS_PLAIN else "rich"

app = typer.Typer(
    name=PROGRAM,
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,  # `--show-completion` and `--install-completion` are below
    pretty_exceptions_enable=False,  # a traceback may show a key
    rich_markup_mode=_MARKUP,
)
enable_completion()

# `up` passes every option to the script, `--help` included.
_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

# The limits of `health --interval`. The upper one, a day, also rejects `inf` and `nan`, for which `sleep` fails.
_MIN_INTERVAL_S, _MAX_INTERVAL_S = 0.5, 86_400.0

_CONFIG_HELP = "The YAML file. Default: the one that LLM_CONFIG_PATH names, else the bundled one."

ConfigPath = Annotated[
    Path | None,
    typer.Argument(help=_CONFIG_HELP, metavar="FILE"),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help=_CONFIG_HELP),
]
ChromaUrl = Annotated[
    str | None,
    typer.Option(
        "--chroma-url",
        envvar="CHROMA_URL",
        metavar="URL",
        help="Default: chroma.url of the file, else the local stack's.",
    ),
]
ChromaToken = Annotated[
    str | None,
    typer.Option("--chroma-token", envvar="CHROMA_TOKEN", metavar="TOKEN", help="The server's token, if needed."),
]
ChromaTenant = Annotated[
    str | None,
    typer.Option("--chroma-tenant", metavar="NAME", help="The tenant of the database. Default: that of the file."),
]
ChromaDatabase = Annotated[
    str | None,
    typer.Option(
        "--chroma-database",
        metavar="NAME",
        help="The database, such as an API key's own (the key's id). Default: that of the file.",
    ),
]
BackupFile = Annotated[
    Path, typer.Argument(help="The backup file: gzipped JSON lines, readable with `zcat | jq`.", metavar="FILE")
]
CollectionNames = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="NAME", help="Only this collection. May be given more than once."),
]


def _print_version(asked: bool) -> None:  # noqa: FBT001 — typer calls it with a positional bool
    if asked:
        from sekha_llm_bridge import __version__

        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]
ShowCompletion = Annotated[
    Shell | None,
    typer.Option(
        "--show-completion",
        metavar="SHELL",
        callback=show,
        is_eager=True,
        help="Print the completion script of bash, zsh or fish, for the shell's startup file.",
    ),
]
InstallCompletion = Annotated[
    Shell | None,
    typer.Option(
        "--install-completion",
        metavar="SHELL",
        callback=install,
        is_eager=True,
        help="Write the completion script of bash, zsh or fish to your home folder.",
    ),
]


def _check_interval(seconds: float) -> float:
    if not _MIN_INTERVAL_S <= seconds <= _MAX_INTERVAL_S:
        raise typer.BadParameter(f"{seconds:g} is not between {_MIN_INTERVAL_S:g} and {_MAX_INTERVAL_S:g} seconds")
    return seconds


@app.callback()
def main(
    *,
    version: Version = False,
    show_completion: ShowCompletion = None,
    install_completion: InstallCompletion = None,
) -> None:
    """One OpenAI-compatible API for many language-model providers.

    \b
    Exit codes of every command, with those in its own help:
    0 done
    2 an argument is wrong, or a package is missing
    70 a fault of sekha-bridge itself
    130 interrupted by Ctrl-C
    141 the reader of the output has gone
    """


@app.command(
    "up", short_help="Start the whole bridge on this machine.", context_settings=_PASS_THROUGH, add_help_option=False
)
def up(context: typer.Context) -> None:
    """Start the whole bridge on this machine; `up --help` lists the options.

    \b
    Exit codes:
    0 stopped by Ctrl-C or SIGTERM
    1 a part did not start
    2 an option or the configuration is invalid, or this is no checkout
    """
    from sekha_llm_bridge.cli.local_stack import start

    start(context.args)


@app.command("check-config", short_help="Check the configuration and show its models.")
def check_config(file: ConfigPath = None, *, as_json: AsJson = False) -> None:
    """Check the configuration and show its providers, URLs, models and prices; or every fault of it.

    \b
    Exit codes:
    0 the bridge can use it, also when there are warnings
    2 it is invalid, or an option is
    """
    from sekha_llm_bridge.cli.check_config import run

    raise typer.Exit(run(file, as_json=as_json))


@app.command("migrate-env", short_help="Print the YAML that replaces a v1 .env.")
def migrate_env(
    file: Annotated[
        Path, typer.Argument(help="The .env of v1, its docker-compose.yml, or its config.yaml.", metavar="FILE")
    ] = Path(".env"),
    *,
    service: Annotated[
        str | None, typer.Option("--service", metavar="NAME", help="The bridge's service in a compose file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the YAML that replaces a v1 .env or compose file; put it into config/llm_providers.yaml.

    Secrets are not printed: the YAML refers to their variables. Standard error says what has no place in the YAML.

    \b
    Exit codes:
    0 every setting is in the YAML
    1 the YAML is valid, but a setting was left out
    2 the file cannot be read, or is not of v1; or an option is invalid
    """
    from sekha_llm_bridge.cli.migrate_env.command import run

    raise typer.Exit(run(file, service, as_json=as_json))


@app.command("schema", short_help="Print the configuration's JSON Schema.")
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors. The exit code is 0."""
    from sekha_llm_bridge.config.schema import schema_text

    sys.stdout.write(schema_text())


@app.command("health", short_help="Show the health of the providers.")
def health(
    *,
    url: BridgeUrl = None,
    api_key: BridgeKey = None,
    interval: Annotated[
        float,
        typer.Option(metavar="SECONDS", callback=_check_interval, help="Time between reports, at least 0.5."),
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show one report and exit, even on a terminal.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one report as the bridge sent it, for scripts.")
    ] = False,
) -> None:
    """Show the health of the providers: on a terminal a live table until Ctrl-C, otherwise one report.

    \b
    Exit codes:
    0 healthy
    1 degraded
    2 unhealthy, or an option is invalid
    3 no report: the bridge cannot be reached, or the answer is not a health report
    130 interrupted by Ctrl-C; the live table ends with the code of its last report instead
    """
    from sekha_llm_bridge.cli.health.command import run

    raise typer.Exit(run(url, api_key, interval_s=interval, once=once, as_json=as_json))


app.command("chat", short_help="Ask a model, or talk to it.")(client_commands.chat)
app.command("route", short_help="Show which model would answer, and why.")(client_commands.route)
app.command("models", short_help="Show the configured models.")(client_commands.models)
app.command("usage", short_help="Show what was used, by day, model or key.")(usage_command.usage)
app.add_typer(key_commands.make_app(_MARKUP), name="keys", short_help="Make, show, change and revoke API keys.")


@app.command("migrate-collections", short_help="Add the dimension to the names of collections.")
def migrate_collections(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep a collection that is merged into another.")] = False,
    as_json: AsJson = False,
    config: ConfigOption = None,
    chroma_url: ChromaUrl = None,
    chroma_token: ChromaToken = None,
    chroma_tenant: ChromaTenant = None,
    chroma_database: ChromaDatabase = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            envvar="STATE_TABLE",
            metavar="NAME",
            help="The DynamoDB table of the deployed bridge. A lease in it lets only one migration run at a time.",
        ),
    ] = None,
) -> None:
    """Rename collections to `{name}_{dimension}`, or merge them into the existing ones. Safe to run again at any time.

    \b
    Exit codes:
    0 every collection has its name
    1 a collection failed, or was not reached
    2 an option is invalid, or Chroma cannot be reached
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.chroma_options import ChromaOptions
    from sekha_llm_bridge.cli.migrate_collections import Options, run

    chroma = ChromaOptions(config, chroma_url, chroma_token, chroma_tenant, chroma_database)
    options = Options(dry_run, keep, as_json, chroma, table)
    raise typer.Exit(run(options))


@app.command("backup", short_help="Write collections of Chroma to a file.")
def backup(
    file: BackupFile,
    *,
    collections: CollectionNames = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Discard what an interrupted backup left.")] = False,
    as_json: AsJson = False,
    config: ConfigOption = None,
    chroma_url: ChromaUrl = None,
    chroma_token: ChromaToken = None,
    chroma_tenant: ChromaTenant = None,
    chroma_database: ChromaDatabase = None,
) -> None:
    """Write collections of the Chroma server to a file, and check it.

    After an interruption, run it again within an hour: it resumes, and prints when it was started.

    \b
    Exit codes:
    0 written and verified
    1 written, but damaged; or records were deleted at every attempt to read a collection
    2 an option is invalid, Chroma or the file cannot be reached, or another backup is writing the file
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.backup import Options, run
    from sekha_llm_bridge.cli.chroma_options import ChromaOptions

    chroma = ChromaOptions(config, chroma_url, chroma_token, chroma_tenant, chroma_database)
    options = Options(tuple(collections or ()), force, restart, as_json, chroma)
    raise typer.Exit(run(file, options))


@app.command("restore", short_help="Write a backup's collections to Chroma.")
def restore(
    file: BackupFile,
    *,
    collections: CollectionNames = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")] = False,
    as_json: AsJson = False,
    config: ConfigOption = None,
    chroma_url: ChromaUrl = None,
    chroma_token: ChromaToken = None,
    chroma_tenant: ChromaTenant = None,
    chroma_database: ChromaDatabase = None,
) -> None:
    """Write a backup's collections to the Chroma server. Its records replace those with the same id, even newer ones
    (--dry-run counts them). Other records on the server stay. Safe to run again at any time.

    \b
    Exit codes:
    0 the whole file is on the server
    1 a collection was refused, or differs from the file
    2 an option is invalid, the file is damaged, or Chroma cannot be reached
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.chroma_options import ChromaOptions
    from sekha_llm_bridge.cli.restore import Options, run

    chroma = ChromaOptions(config, chroma_url, chroma_token, chroma_tenant, chroma_database)
    options = Options(tuple(collections or ()), dry_run, as_json, chroma)
    raise typer.Exit(run(file, options))
