"""The options of `sekha-bridge keys`. This module is imported at every start of the program."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from sekha_llm_bridge.cli.option_types import check_usd


class Clearable(StrEnum):
    """What `keys update --clear` resets. The value is the option's name."""

    NAME = "name"
    LABEL = "label"
    EXPIRES = "expires"
    MODEL = "model"
    TASK = "task"
    MAX_COST_PER_REQUEST = "max-cost-per-request"
    REQUESTS_PER_MINUTE = "requests-per-minute"
    TOKENS_PER_MINUTE = "tokens-per-minute"
    CONCURRENT_REQUESTS = "concurrent-requests"
    DAILY_USD = "daily-usd"
    MONTHLY_USD = "monthly-usd"
    CHROMA_TENANT = "chroma-tenant"
    CHROMA_DATABASE = "chroma-database"


@dataclass(frozen=True, slots=True)
class Changes:
    """The options, as they were written. None: the option was not given."""

    name: str | None = None
    labels: tuple[str, ...] = ()
    expires: str | None = None
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    max_cost_per_request_usd: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    daily_usd: str | None = None
    monthly_usd: str | None = None
    chroma_tenant: str | None = None
    chroma_database: str | None = None
    may_store: bool | None = None
    clear: tuple[Clearable, ...] = ()


def _usd(name: str, what: str) -> object:
    return typer.Option(name, metavar="USD", callback=check_usd, help=what)


def _count(name: str, what: str) -> object:
    return typer.Option(name, metavar="N", min=1, help=what)


Stack = Annotated[
    str | None,
    typer.Option(
        "--stack",
        envvar="SEKHA_BRIDGE_STACK",
        metavar="NAME",
        help="The CloudFormation stack of a deployed bridge. Default: the running local stack.",
    ),
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key's handle (key_…) or name.")]
Keys = Annotated[list[str], typer.Argument(metavar="KEY", help="The handles (key_…) or names of keys.")]
Name = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="A name for people.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="A label for its usage. May be given more than once."),
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="WHEN", help="When it becomes invalid: in 90d, 12h or 30m, or at a date, in UTC."
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A model that it may use: model, provider/model or provider/*. May be given more than once. Default: all.",
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task", metavar="TASK", help="A task of models that it may use. May be given more than once. Default: all."
    ),
]
MaxCostPerRequest = Annotated[str | None, _usd("--max-cost-per-request", "The most that one request may cost.")]
RequestsPerMinute = Annotated[int | None, _count("--requests-per-minute", "Its requests in a minute.")]
TokensPerMinute = Annotated[int | None, _count("--tokens-per-minute", "Its tokens in a minute.")]
ConcurrentRequests = Annotated[int | None, _count("--concurrent-requests", "Its requests at the same time.")]
DailyUsd = Annotated[str | None, _usd("--daily-usd", "Its budget for a day of UTC.")]
MonthlyUsd = Annotated[str | None, _usd("--monthly-usd", "Its budget for a month of UTC.")]
ChromaTenant = Annotated[
    str | None, typer.Option("--chroma-tenant", metavar="NAME", help="The Chroma tenant of its vectors.")
]
ChromaDatabase = Annotated[
    str | None, typer.Option("--chroma-database", metavar="NAME", help="The Chroma database of its vectors.")
]
MayStore = Annotated[
    bool | None, typer.Option("--store/--no-store", help="Whether its embeddings may be stored. Default: yes.")
]
Clear = Annotated[
    list[Clearable] | None,
    typer.Option(
        "--clear",
        metavar="OPTION",
        help="Reset what this option sets, such as daily-usd or model, to its default. May be given more than once.",
    ),
]
KeepOld = Annotated[
    str | None,
    typer.Option(
        "--keep-old", metavar="TIME", help="How long the old key stays valid: 24h, 7d. Default: it ends at once."
    ),
]
