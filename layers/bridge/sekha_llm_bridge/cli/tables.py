"""Tables of what a bridge has sent."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sekha_llm_bridge.cli.health.printable import printable

MISSING = "-"


def print_table(console: Console, columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table. A column is a heading, and whether its cells are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, is_number in columns:
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def usd(amount: Decimal | None) -> str:
    """Returns an amount in USD as the text of a cell."""
    return MISSING if amount is None else f"{amount.normalize():f}"
