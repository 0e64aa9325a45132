"""What requests notice of trouble with the state table.

Traffic goes on through the chat function's handler, one request after the other, while the table is throttled, fails,
hangs or is gone, and well in between. Every request must be answered.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from bridge_bench.endpoints import ENDPOINTS, configuration
from bridge_bench.lambda_function import Handler, LambdaContext, api_gateway_event, load_handler
from bridge_bench.provider_process import fast_provider
from bridge_bench.troubled_table import Trouble, TroubledTable, troubled_table

_OK = 200
_COURSE = (
    *(Trouble.NONE, Trouble.THROTTLED, Trouble.NONE, Trouble.FAILING, Trouble.NONE, Trouble.HANGING, Trouble.NONE),
    *(Trouble.GONE, Trouble.NONE),
)
_PAUSE_S = 0.02
_NOTICED_S = 0.05
_ENDPOINT = ENDPOINTS["chat_completions"]


@dataclass(frozen=True, slots=True)
class Spell:
    """A while of one kind of trouble: how long each request took, how many were not answered, and what was asked of
    the table.
    """

    trouble: Trouble
    took_s: Sequence[float]
    unanswered: int
    asked: int


def main(arguments: Sequence[str]) -> None:
    """What requests notice when the state table is throttled, fails, hangs or is gone."""
    parser = argparse.ArgumentParser(prog="infra/bench/run outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=11.0, help="how long each spell lasts (%(default)s)")
    options = parser.parse_args(arguments)
    spells = weather(options.seconds)
    print(_table(spells))
    if any(spell.unanswered for spell in spells):
        raise SystemExit("not every request was answered")


def weather(seconds: float) -> list[Spell]:
    """Traffic through one spell after another, each of so many seconds."""
    with tempfile.TemporaryDirectory() as folder, fast_provider(None) as port, troubled_table() as table:
        file = Path(folder) / "llm_providers.yaml"
        file.write_text(configuration(port))
        os.environ["LLM_CONFIG_PATH"] = str(file)
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # the log
            handler = load_handler(_ENDPOINT.function)
            return [_spell(trouble, seconds, table, handler) for trouble in _COURSE]


def _spell(trouble: Trouble, seconds: float, table: TroubledTable, handler: Handler) -> Spell:
    table.get_into(trouble)
    table.asked.clear()
    took, unanswered, ends_s = [], 0, time.monotonic() + seconds
    while time.monotonic() < ends_s:
        started_s = time.monotonic()
        answer = handler(api_gateway_event(_ENDPOINT), LambdaContext())
        took.append(time.monotonic() - started_s)
        unanswered += answer["statusCode"] != _OK
        time.sleep(_PAUSE_S)
    return Spell(trouble, took, unanswered, len(table.asked))


def _table(spells: Sequence[Spell]) -> str:
    noticed = f"over {_NOTICED_S * 1000:.0f} ms"
    columns = ("the table is", "requests", "unanswered", "median ms", "slowest ms", noticed, "asked")
    return "\n".join(_row(cells) for cells in (columns, *map(_cells, spells)))


def _cells(spell: Spell) -> Sequence[object]:
    middle, slowest = (f"{of(spell.took_s) * 1000:.1f}" for of in (statistics.median, max))
    noticed = sum(took_s > _NOTICED_S for took_s in spell.took_s)
    name = "well" if spell.trouble is Trouble.NONE else spell.trouble
    return (name, len(spell.took_s), spell.unanswered, middle, slowest, noticed, spell.asked)


def _row(cells: Sequence[object]) -> str:
    return f"{cells[0]!s:12}" + "".join(f"{cell!s:>12}" for cell in cells[1:])
