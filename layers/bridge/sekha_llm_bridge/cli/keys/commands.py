"""The commands of `sekha-bridge keys` with their arguments. The work is in `actions`, imported when a command runs."""

from typing import Literal

import typer

from sekha_llm_bridge.cli.keys import options as o
from sekha_llm_bridge.cli.option_types import AsJson


def make_app(rich_markup_mode: Literal["rich"] | None) -> typer.Typer:
    """Returns the group of commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=rich_markup_mode, help=_HELP)
    app.command("create", short_help="Make a key, and show it once.")(create)
    app.command("list", short_help="Show all keys.")(list_keys)
    app.command("show", short_help="Show one key.")(show)
    app.command("update", short_help="Change what a key may do.")(update)
    app.command("rotate", short_help="Replace a key by another one with the same handle.")(rotate)
    app.command("revoke", short_help="Make keys invalid for ever.")(revoke)
    return app


_HELP = """Make, show, change, rotate and revoke API keys of the running local stack, or with --stack of a deployed one.

\b
Exit codes:
0 done
1 there is no such key, it is not valid any more, or it was changed in the meantime
2 an option is invalid, no local stack runs, or the stack is not this bridge
3 AWS cannot be reached, or has refused the request
"""


def create(
    *,
    name: o.Name = None,
    label: o.Labels = None,
    expires: o.Expires = None,
    model: o.Models = None,
    task: o.Tasks = None,
    max_cost_per_request: o.MaxCostPerRequest = None,
    requests_per_minute: o.RequestsPerMinute = None,
    tokens_per_minute: o.TokensPerMinute = None,
    concurrent_requests: o.ConcurrentRequests = None,
    daily_usd: o.DailyUsd = None,
    monthly_usd: o.MonthlyUsd = None,
    chroma_tenant: o.ChromaTenant = None,
    chroma_database: o.ChromaDatabase = None,
    store: o.MayStore = None,
    as_json: AsJson = False,
    stack: o.Stack = None,
) -> None:
    """Make a key. It is the only thing on standard output, and is not shown again. Without options it has no limits.

    \b
    Exit codes:
    0 done
    2 an option is invalid, no local stack runs, or the stack is not this bridge
    3 AWS cannot be reached, or has refused the request
    """
    from sekha_llm_bridge.cli.keys import actions

    changes = o.Changes(
        name=name,
        labels=tuple(label or ()),
        expires=expires,
        models=tuple(model or ()),
        tasks=tuple(task or ()),
        max_cost_per_request_usd=max_cost_per_request,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent_requests=concurrent_requests,
        daily_usd=daily_usd,
        monthly_usd=monthly_usd,
        chroma_tenant=chroma_tenant,
        chroma_database=chroma_database,
        may_store=store,
    )
    raise typer.Exit(actions.create(stack, changes, is_json=as_json))


def list_keys(*, as_json: AsJson = False, stack: o.Stack = None) -> None:
    """Show all keys, the oldest first, also those that have expired or were revoked.

    \b
    Exit codes:
    0 done, also when there is none
    2 an option is invalid, no local stack runs, or the stack is not this bridge
    3 AWS cannot be reached, or has refused the request
    """
    from sekha_llm_bridge.cli.keys import actions

    raise typer.Exit(actions.list_all(stack, is_json=as_json))


def show(key: o.Key, *, as_json: AsJson = False, stack: o.Stack = None) -> None:
    """Show what is known of one key. Its text is not known: only its hash is stored.

    \b
    Exit codes:
    0 done
    1 there is no such key
    2 an option is invalid, no local stack runs, or the stack is not this bridge
    3 AWS cannot be reached, or has refused the request
    """
    from sekha_llm_bridge.cli.keys import actions

    raise typer.Exit(actions.show(stack, key, is_json=as_json))


def update(
    key: o.Key,
    *,
    clear: o.Clear = None,
    name: o.Name = None,
    label: o.Labels = None,
    expires: o.Expires = None,
    model: o.Models = None,
    task: o.Tasks = None,
    max_cost_per_request: o.MaxCostPerRequest = None,
    requests_per_minute: o.RequestsPerMinute = None,
    tokens_per_minute: o.TokensPerMinute = None,
    concurrent_requests: o.ConcurrentRequests = None,
    daily_usd: o.DailyUsd = None,
    monthly_usd: o.MonthlyUsd = None,
    chroma_tenant: o.ChromaTenant = None,
    chroma_database: o.ChromaDatabase = None,
    store: o.MayStore = None,
    as_json: AsJson = False,
    stack: o.Stack = None,
) -> None:
    """Change what a key may do, within a minute. What no option names stays.

    Models and tasks replace those that it has; labels are added. --clear resets something first.

    \b
    Exit codes:
    0 done
    1 there is no such key, or it was changed in the meantime
    2 an option is invalid, no local stack runs, or the stack is not this bridge
    3 AWS cannot be reached, or has refused the request
    """
    from sekha_llm_bridge.cli.keys import actions

    changes = o.Changes(
        name=name,
        labels=tuple(label or ()),
        expires=expires,
        models=tuple(model or ()),
        tasks=tuple(task or ()),
        max_cost_per_request_usd=max_cost_per_request,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent_requests=concurrent_requests,
        daily_usd=daily_usd,
        monthly_usd=monthly_usd,
        chroma_tenant=chroma_tenant,
        chroma_database=chroma_database,
        may_store=store,
        clear=tuple(clear or ()),
    )
    raise typer.Exit(actions.update(stack, key, changes, is_json=as_json))


def rotate(key: o.Key, *, keep_old: o.KeepOld = None, as_json: AsJson = False, stack: o.Stack = None) -> None:
    """Replace a key by another one with the same handle, limits and usage. The new one is valid at once.

    \b
    Exit codes:
    0 done
    1 there is no such key, it is not valid any more, or it was changed in the meantime
    2 an option is invalid, no local stack runs, or the stack is not this bridge
    3 AWS cannot be reached, or has refused the request
    """
    from sekha_llm_bridge.cli.keys import actions

    raise typer.Exit(actions.rotate(stack, key, keep_old, is_json=as_json))


def revoke(key: o.Keys, *, as_json: AsJson = False, stack: o.Stack = None) -> None:
    """Make keys invalid for ever, within a minute. A key's text may be given instead of its handle.

    \b
    Exit codes:
    0 done, also when it was revoked before
    1 there is no such key: none was revoked
    2 an option is invalid, no local stack runs, or the stack is not this bridge
    3 AWS cannot be reached, or has refused the request
    """
    from sekha_llm_bridge.cli.keys import actions

    raise typer.Exit(actions.revoke(stack, key, is_json=as_json))
