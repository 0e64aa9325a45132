"""`config/README.md`: its tables have every key of the models, with a meaning."""

import configuration_table
from sekha_llm_bridge.config.models import ConfigFile, ModelConfig, ProviderConfig

TEXT = configuration_table.DOCUMENT.read_text(encoding="utf-8")


def test_the_tables_in_the_document_are_those_of_the_code() -> None:
    """Otherwise run `.local/envs/bridge/bin/python infra/build/configuration_table.py`."""
    assert configuration_table.with_tables(TEXT) == TEXT


def test_every_key_has_a_meaning() -> None:
    tables = "".join(configuration_table.sections().values())
    assert [line for line in tables.splitlines() if line.endswith("|  |")] == []


def test_every_section_of_the_file_has_a_table() -> None:
    headings = configuration_table.sections().keys()
    assert {"`providers[]`", "`providers[].models[]`", "`routing.circuit_breaker`", "`chroma`"} <= headings
    rows = "".join(configuration_table.sections().values())
    names = [*ConfigFile.model_fields, *ProviderConfig.model_fields, *ModelConfig.model_fields]
    assert [name for name in names if f"| `{name}` |" not in rows] == []
