"""The command `usage` with its options. The work is in `report`, imported when the command runs."""

from typing import Annotated, Literal

import typer

from sekha_llm_bridge.cli.keys.options import Stack
from sekha_llm_bridge.cli.option_types import AsJson, BridgeKey

By = Annotated[
    Literal["day", "model", "key"], typer.Option("--by", help="What to sum up: day, model or key.", show_default=True)
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="DAY", help="The first day, such as 2026-11-28. Default: 29 days before --to."),
]
To = Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day. Default: today, in UTC.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SEKHA_BRIDGE_URL",
        metavar="URL",
        help="Ask the bridge at this URL for the usage of --api-key, instead of reading the table.",
    ),
]


def usage(
    *,
    by: By = "day",
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    stack: Stack = None,
    url: Url = None,
    api_key: BridgeKey = None,
) -> None:
    """Show requests, tokens and costs by day, model or API key.

    An operator sees all of them: it reads the table of the running local stack, or with --stack of a deployed one. With
    --url or --api-key it asks the bridge, which shows what that key has used. --stack goes first.

    \b
    Exit codes:
    0 the sums are printed, also when nothing was used
    1 the bridge refused the request
    2 an option is invalid, no local stack runs, or the stack is not this bridge
    3 the bridge or AWS cannot be reached, or has refused the request
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.usage.report import Options, run

    raise typer.Exit(run(Options(by, first, last, as_json, as_csv, stack, url, api_key)))
