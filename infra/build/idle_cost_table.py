"""Writes the tables of `infra/README.md` that say what a deployment costs while nobody calls it.

    .local/envs/bridge/bin/python infra/build/idle_cost_table.py
    .local/envs/bridge/bin/python infra/build/idle_cost_table.py SnapStart=all LogRetentionDays=90

With parameters, it prints the bill of a stack with these, and writes nothing. It needs the SAM CLI's environment.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "infra" / "local"), str(ROOT)]

from idle_cost import Line, chroma_lines, idle_lines, total  # noqa: E402 — needs the path that is set above
from local_stack.cloudformation import load  # noqa: E402 — as above
from local_stack.parameters import parameter_faults  # noqa: E402 — as above
from page_sections import table, with_section  # noqa: E402 — as above

DOCUMENT = ROOT / "infra" / "README.md"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alerts"
CHOICES: Mapping[str, Mapping[str, str]] = {
    "the default": {},
    "with alarms (`AlertTopicArn`)": {"AlertTopicArn": TOPIC},
    "`SnapStart=chat`": {"SnapStart": "chat"},
    "`SnapStart=all`": {"SnapStart": "all"},
}
CHROMA_VOLUME_GB = 20
"""The default of VolumeGb in `infra/chroma.yaml`."""

Bill = Callable[[Mapping[str, str]], list[Line]]


def main(arguments: Sequence[str]) -> None:
    """Writes the tables, or prints one bill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="a parameter of the template")
    if given := parser.parse_args(arguments).parameters:
        try:
            parameters = _checked(given)
        except ValueError as error:
            parser.error(str(error))
        print(bill_table(_bill(parameters)))
    else:
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8"), _bill), encoding="utf-8")


def _checked(given: Sequence[str]) -> dict[str, str]:
    """Returns the parameters by name. Raises ValueError for those that CloudFormation would refuse."""
    parameters = {}
    document = load(ROOT / "template.yaml")
    for one in given:
        name, separator, value = one.partition("=")
        if not separator or name not in document["Parameters"]:
            raise ValueError(f"{name}: give parameters of the template as NAME=VALUE")
        parameters[name] = value
    if faults := list(parameter_faults(document, parameters)):
        raise ValueError("; ".join(faults))
    return parameters


def with_tables(text: str, bill: Bill) -> str:
    """Returns the document with tables that are made anew. `bill` returns the lines for some parameters."""
    rows = [(name, usd(total(bill(parameters)))) for name, parameters in CHOICES.items()]
    text = with_section(text, "idle-choices", table(("deployment", "USD a month, idle"), rows))
    text = with_section(text, "idle-default", bill_table(bill({})))
    chroma = chroma_lines(volume_gb=CHROMA_VOLUME_GB, makes_vpc=True)
    return with_section(text, "idle-chroma", bill_table(chroma))


def bill_table(lines: Sequence[Line]) -> str:
    """Returns the lines as a table, with their sum."""
    rows = [(line.what, line.how, usd(line.usd, places=4)) for line in lines]
    return table(("what", "quantity", "USD a month"), [*rows, ("**sum**", "", f"**{usd(total(list(lines)))}**")])


def usd(amount: Decimal, *, places: int = 2) -> str:
    """Returns the amount as a text, rounded."""
    return f"{amount:.{places}f}"


def _bill(parameters: Mapping[str, str]) -> list[Line]:
    from environment import find_python, make
    from tests.template.deployed import deploy

    [deployed] = deploy(make("sam", find_python()) / "bin" / "python", [parameters])
    return idle_lines(deployed.resources)


if __name__ == "__main__":
    main(sys.argv[1:])
