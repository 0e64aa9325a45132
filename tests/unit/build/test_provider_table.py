"""`config/PROVIDERS.md`: its tables are those of the code, and its examples can be loaded."""

import re
from pathlib import Path

import pytest

import provider_table
from sekha_llm_bridge.config import ProviderType, load_settings
from sekha_llm_bridge.config.endpoints import ENDPOINTS
from sekha_llm_bridge.providers.field_table import FIELD_TABLE
from sekha_llm_bridge.providers.openai.vendors import VENDORS_BY_HOST

TEXT = provider_table.DOCUMENT.read_text(encoding="utf-8")
EXAMPLES = [part.partition("```")[0] for part in TEXT.split("```yaml\n")[1:]]


def test_the_tables_in_the_document_are_those_of_the_code() -> None:
    """Otherwise run `.local/envs/bridge/bin/python infra/build/provider_table.py`."""
    assert provider_table.with_tables(TEXT) == TEXT


def test_the_tables_name_every_field_vendor_and_type() -> None:
    tables = TEXT.partition("<!-- tables: begin -->\n")[2]
    names = [*(row.name.partition(" ")[0] for row in FIELD_TABLE), *VENDORS_BY_HOST, *ENDPOINTS]
    assert [name for name in names if f"`{name}`" not in tables] == []


def test_a_document_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        provider_table.with_tables("# Providers\n")


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_loads_without_a_warning(tmp_path: Path, example: str) -> None:
    path = tmp_path / "llm.yaml"
    path.write_text(example, encoding="utf-8")
    names = re.findall(r"\$\{(\w+)", example)
    values = {name: "http://localhost:1" if name.endswith("_URL") else "key" for name in names}
    settings = load_settings(path, environ=values)
    assert len(settings.providers) == 1
    assert settings.disabled == ()
    assert settings.warnings == ()
    assert 4 <= example.count("\n") <= 10


def test_every_provider_type_has_an_example() -> None:
    shown = {kind for kind in ProviderType for example in EXAMPLES if f"provider_type: {kind}\n" in example}
    assert shown == set(ProviderType)
