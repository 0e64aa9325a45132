"""The commands that use the Python client: their arguments and options."""

from typing import Annotated

import typer

from sekha_llm_bridge.cli.option_types import AsJson, BridgeKey, BridgeUrl, MaxCost, ModelName, PreferredModel

Message = Annotated[
    str | None,
    typer.Argument(metavar="MESSAGE", help="What to say. Default: standard input; on a terminal a conversation."),
]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="PATH", help="An image: a file or a URL. May be given more than once."),
]
TaskOption = Annotated[
    str | None, typer.Option("--task", metavar="TASK", help="Only models of this task, such as chat_smart.")
]
TaskArgument = Annotated[
    str | None,
    typer.Argument(metavar="TASK", help="The task, such as chat_smart or embedding. Default: any chat."),
]


def chat(
    message: Message = None,
    *,
    image: Images = None,
    model: ModelName = None,
    preferred_model: PreferredModel = None,
    max_cost: MaxCost = None,
    task: TaskOption = None,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="Instructions for the model.")] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is complete.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bridge's whole answer as JSON.")] = False,
    url: BridgeUrl = None,
    api_key: BridgeKey = None,
) -> None:
    """Ask a model. Without a message, on a terminal: a conversation, which Ctrl-D ends and /new starts again.

    The answer is on standard output; its model, provider and cost are on standard error. Ctrl-C ends an answer, and the
    bridge then cancels it.

    \b
    Exit codes:
    0 the answer is complete
    1 there is no answer, or an incomplete one
    2 an argument is wrong
    3 the bridge cannot be reached, does not accept the key, or is no bridge
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.chat.command import Options, run

    options = Options(
        message=message,
        images=tuple(image or ()),
        model=model,
        preferred_model=preferred_model,
        max_cost=max_cost,
        task=task,
        system=system,
        is_streamed=not (no_stream or as_json),
        as_json=as_json,
    )
    raise typer.Exit(run(url, api_key, options))


def route(
    task: TaskArgument = None,
    *,
    message: Annotated[
        str | None, typer.Option("--message", metavar="TEXT", help="Plan and price the request with this message.")
    ] = None,
    model: ModelName = None,
    preferred_model: PreferredModel = None,
    max_cost: MaxCost = None,
    vision: Annotated[bool, typer.Option("--vision", help="Only models with vision.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", min=1, help="The limit of output tokens to price.")
    ] = None,
    as_json: AsJson = False,
    url: BridgeUrl = None,
    api_key: BridgeKey = None,
) -> None:
    """Show which model would answer and why, and every other with its cost or the reason of its exclusion.

    No model is asked, so it costs nothing. With a task and no message, 1000 input and 500 output tokens are priced.

    \b
    Exit codes:
    0 a model would answer
    1 no model would answer, or the bridge refused the request
    2 an argument is wrong
    3 the bridge cannot be reached, does not accept the key, or is no bridge
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.route import Options, run

    raise typer.Exit(
        run(url, api_key, Options(task, message, model, preferred_model, max_cost, vision, max_tokens, as_json))
    )


def models(*, as_json: AsJson = False, url: BridgeUrl = None, api_key: BridgeKey = None) -> None:
    """Show the configured models: task, context window, features and prices, and the names that stand for models.

    \b
    Exit codes:
    0 the list is printed
    1 the bridge refused the request
    2 an argument is wrong
    3 the bridge cannot be reached, does not accept the key, or is no bridge
    130 interrupted by Ctrl-C
    """
    from sekha_llm_bridge.cli.models import run

    raise typer.Exit(run(url, api_key, as_json=as_json))
