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

ConfigPath = Annotated[
    Path | None, typer.Argument(help="The YAML file; by default the one of LLM_CONFIG_PATH, else the bundled one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def _print_version(asked: bool) -> None:  # noqa: FBT001 — the form that typer calls
    if asked:
        from sekha_llm_bridge import __version__

        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


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
