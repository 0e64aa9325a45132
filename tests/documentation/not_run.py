"""The examples that are not run as written: each with the reason, and the test that covers it where there is one.

Nothing that could run belongs here. `test_every_entry_of_the_list_is_an_example` finds entries that are out of date.
"""

from typing import NamedTuple


class NotRun(NamedTuple):
    """`start` is the start of a command or of a Python block. `tested_by`: a file of this repository, or empty."""

    start: str
    reason: str
    tested_by: str = ""


_V1 = "it belongs to v1 and its Docker containers"
_ENDLESS = NotRun("infra/local/up", "it runs until Ctrl-C", "tests/integration/local_stack/test_lifecycle.py")

COMMANDS = (
    _ENDLESS,
    NotRun("infra/local/test", "it runs every test, this one included"),
    NotRun("sam build && sam deploy", "it deploys to an AWS account", "tests/template/test_build.py"),
    NotRun("aws ", "it reads or changes an AWS account"),
    NotRun("infra/build/run", "it builds the package, which takes half a minute", "tests/template/test_build.py"),
    NotRun(
        "sam local", "it needs Docker", "tests/template/test_built_functions.py"
    ),  # the same package, without containers
    NotRun("docker-compose ", _V1),
    NotRun("git checkout ", _V1),
)

PYTHON = (
    NotRun(
        "# Hard limit per request",
        "it has `[...]` in place of messages, and a URL without a host",
        "tests/documentation/test_examples.py",  # with both replaced
    ),
)


def reason_not_to_run(command: str) -> NotRun | None:
    """Returns the entry of the list for a command; None where it runs. `--help` runs always."""
    found = next((entry for entry in COMMANDS if command.startswith(entry.start)), None)
    return None if found and command.endswith("--help") else found


def python_not_to_run(text: str) -> NotRun | None:
    """Returns the entry of the list for a Python block; None where it runs."""
    return next((entry for entry in PYTHON if text.startswith(entry.start)), None)
