"""The list of examples that are not run, and the languages of the blocks."""

from tests.documentation.blocks import GUIDE, ROOT, Block, blocks, blocks_of, commands_of
from tests.documentation.not_run import COMMANDS, PYTHON, reason_not_to_run

ALL = blocks()
RUN, NOT_FOR_A_MACHINE = {"python", "bash", "yaml", "json"}, {"mermaid", "text"}


def test_every_block_names_its_language() -> None:
    """A block of another language would not be run: `text` is for what no program reads."""
    others = [str(block) for block in ALL if block.language not in RUN | NOT_FOR_A_MACHINE and not _is_guide(block)]
    assert others == []


def _is_guide(block: Block) -> bool:
    return block.page.endswith("migration-guide.md") and block.language == ""


def test_every_entry_of_the_list_is_an_example() -> None:
    commands = [command for block in ALL if block.language == "bash" for command in commands_of(block)]
    texts = [block.text for block in ALL if block.language == "python"]
    assert [entry.start for entry in COMMANDS if not any(one.startswith(entry.start) for one in commands)] == []
    assert [entry.start for entry in PYTHON if sum(one.startswith(entry.start) for one in texts) != 1] == []


def test_every_entry_has_a_reason_and_its_test_exists() -> None:
    entries = [*COMMANDS, *PYTHON]
    assert all(entry.reason for entry in entries)
    assert [entry.tested_by for entry in entries if not (ROOT / entry.tested_by).exists()] == []


def test_requests_to_the_bridge_are_always_run() -> None:
    commands = [command for block in ALL if block.language == "bash" for command in commands_of(block)]
    assert [one for one in commands if reason_not_to_run(one) and ("curl " in one or "sekha-bridge" in one)] == []


def test_the_guides_configurations_in_the_unit_tests_are_those_of_the_guide() -> None:
    examples = {block.text for block in blocks_of(GUIDE) if block.language == "yaml"}
    copies = (ROOT / "tests" / "unit" / "config" / "data").glob("guide_*.yaml")
    assert {copy.read_text(encoding="utf-8") for copy in copies} == examples
