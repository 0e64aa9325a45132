"""Tables of Markdown, and sections of a page that are generated: the text between two markers."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table with a line for each row."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def with_section(text: str, name: str, content: str) -> str:
    """Returns a page with `content` between its markers of that name. Raises ValueError where it has no markers."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"the document has no lines {begin.strip()} and {end.strip()}")
    return f"{before}{begin}\n{content}\n{end}{after}"
