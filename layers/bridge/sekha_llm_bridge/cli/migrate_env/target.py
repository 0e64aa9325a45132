"""The tree from which the YAML is written, and the texts in it."""

from typing import NamedTuple, TypeAlias, Union

from sekha_llm_bridge.config.references import escape


class Setting(NamedTuple):
    """One value. `text` has the bridge's syntax of references. `place`: the v1 setting that it comes from, for comments
    and messages; empty for what v1 had built in. `is_list`: the text is a comma-separated list.
    """

    text: str
    place: str = ""
    is_list: bool = False


Node: TypeAlias = Union[Setting, dict[str, "Node"], list[dict[str, "Node"]]]  # noqa: UP007 — `|` takes no forward reference
Section: TypeAlias = dict[str, Node]


def fixed(text: str) -> Setting:
    """Returns a setting that v1 had built in."""
    return Setting(escape(text))
