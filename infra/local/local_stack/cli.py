"""The command line of `infra/local/up`."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

import environment
from local_stack.plan import CannotStartError, Options, make_plan
from local_stack.stack import Stack
from local_stack.terminal import Terminal

USAGE_ERROR = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def up(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of the API; 0 picks a free port.")] = 8000,
    host: Annotated[str, typer.Option(help="The address of the API; 0.0.0.0 allows other machines.")] = "127.0.0.1",
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="LLM_CONFIG_PATH",
            metavar="FILE",
            help="The configuration. Default: config/llm_providers.yaml if an Ollama answers on this machine, else "
            "config/examples/embedded.yaml.",
        ),
    ] = None,
    state: Annotated[
        Path,
        typer.Option(
            metavar="DIR", show_default=False, help="The folder of logs and Chroma's data. Default: .local/state."
        ),
    ] = environment.HOME / "state",
    no_model: Annotated[bool, typer.Option("--no-model", help="Never start the embedded model.")] = False,
    no_schedules: Annotated[
        bool, typer.Option("--no-schedules", help="Do not run scheduled functions, such as the health check.")
    ] = False,
    auth: Annotated[
        bool, typer.Option("--auth", help="Ask the authorizer before each request, which requires an API key.")
    ] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A parameter of the template, such as MaxChats=2. May be repeated."),
    ] = None,
    on_demand: Annotated[
        bool, typer.Option("--on-demand", help="Start each function at its first request, as AWS does.")
    ] = False,
    template: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Another template. Without --config, its functions get no Chroma and no model.",
        ),
    ] = None,
) -> None:
    """Start the whole bridge on this machine: functions, API, DynamoDB, SQS, Chroma, a model. Ctrl-C stops it."""
    logging.basicConfig(level=logging.WARNING, format="    %(message)s")
    terminal = Terminal()
    options = Options(
        host=host,
        port=port,
        config=config,
        state=state,
        model=not no_model,
        schedules=not no_schedules,
        on_demand=on_demand,
        auth=auth,
        parameters=parameter or (),
        template=template,
    )
    try:
        plan = make_plan(options, terminal)
    except CannotStartError as fault:
        terminal.error(str(fault))
        raise typer.Exit(USAGE_ERROR) from fault
    raise typer.Exit(asyncio.run(Stack(plan, terminal).run()))


def main() -> None:
    """Runs the command."""
    app(prog_name="infra/local/up")
