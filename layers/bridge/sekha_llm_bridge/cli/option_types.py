"""Options that several commands share."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
BridgeUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SEKHA_BRIDGE_URL",
        metavar="URL",
        help="The bridge; /v1 at the end is ignored. Default: the running local stack, else http://127.0.0.1:8000.",
    ),
]
BridgeKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="SEKHA_BRIDGE_API_KEY", metavar="KEY", help="The bridge's key, if needed."),
]


def check_usd(amount: str | None) -> str | None:
    """Refuses what is no amount. It stays a text, which is sent exactly."""
    try:
        if amount is None or (Decimal(amount).is_finite() and Decimal(amount) >= 0):
            return amount
    except InvalidOperation:
        pass
    raise typer.BadParameter(f"{amount!r} is not an amount in USD, such as 0.01")


ModelName = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="The model to use. Default: the bridge chooses.")
]
PreferredModel = Annotated[
    str | None, typer.Option("--preferred-model", metavar="NAME", help="The model to try first, if it is suitable.")
]
MaxCost = Annotated[
    str | None,
    typer.Option("--max-cost", metavar="USD", callback=check_usd, help="The most that the request may cost."),
]
