"""The pages name what exists, and everything that exists: paths, parameters, alarms, metrics, benchmarks. Links between
them lead somewhere.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic import BaseModel

import parameter_table
from bridge_bench.__main__ import BENCHMARKS
from local_stack.cli import app as local_stack
from sekha_llm_bridge.api.chat.request import ChatRequest
from sekha_llm_bridge.api.embeddings.request import EmbeddingRequest, LegacyEmbedRequest
from sekha_llm_bridge.api.embeddings.search_request import SearchRequest
from sekha_llm_bridge.api.models.route import ExplainRequest
from sekha_llm_bridge.api.paths import PATHS
from sekha_llm_bridge.cli.app import app as commands
from sekha_llm_bridge.cli.keys.options import Clearable
from sekha_llm_bridge.observability import Metric
from tests.documentation.blocks import GUIDE, ROOT, pages

_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HASH_OF_THE_GUIDE = "7b62a4a65d0ea608ea82e6ff68fd71c54dc8ecbc1fe9634c079b3d0abeb7fb33"
OPERATION, API = ROOT / "infra" / "README.md", ROOT / "functions" / "README.md"
LOCAL = ROOT / "infra" / "local" / "README.md"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors_of(page: Path) -> set[str]:
    """Returns the anchors of the headings, as GitHub makes them."""
    return {anchor_of(heading) for heading in _HEADING.findall(_CODE.sub("", text_of(page)))}


def anchor_of(heading: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", heading.lower())
    return plain.replace(" ", "-")


def broken_links(page: Path) -> Iterator[str]:
    for target in _LINK.findall(_CODE.sub("", text_of(page))):
        if re.match(r"[a-z]+:", target):
            continue  # another site
        path, _, anchor = target.partition("#")
        file = (page.parent / unquote(path)) if path else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            yield target


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_a_link_to_a_missing_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[good](#one-two) [bad](#three) [gone](other.md) [out](https://example.com)\n")
    assert list(broken_links(page)) == ["#three", "other.md"]


def test_the_readme_leads_to_a_page_for_every_folder() -> None:
    linked = {target.partition("#")[0] for target in _LINK.findall(text_of(ROOT / "README.md"))}
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    assert {f"{folder.name}/README.md" for folder in folders} <= linked


def test_the_guide_is_a_verbatim_copy() -> None:
    """Its examples must run; a correction belongs into the bridge, not into the guide."""
    assert hashlib.sha256(GUIDE.read_bytes()).hexdigest() == _HASH_OF_THE_GUIDE


def test_every_path_is_in_the_page_of_the_api() -> None:
    template = parameter_table.TEMPLATE.read_text(encoding="utf-8")
    found = {path.replace("{model+}", "{id}") for path in re.findall(r'\bPath: "?(/[^",\s]*)', template)}
    paths = (found | set(PATHS)) - {"/{proxy+}"}  # what answers every other path
    page = text_of(API)
    assert sorted(path for path in paths if not re.search(rf"`(?:[A-Z]+ )?{re.escape(path)}`", page)) == []


def test_the_table_of_parameters_is_that_of_the_template() -> None:
    """Otherwise run `.local/envs/bridge/bin/python infra/build/parameter_table.py`."""
    assert parameter_table.with_table(text_of(OPERATION)) == text_of(OPERATION)


def test_every_alarm_says_what_to_do() -> None:
    resources = parameter_table.template()["Resources"].items()
    alarms = {name for name, one in resources if one["Type"] == "AWS::CloudWatch::Alarm"}
    rows = set(re.findall(r"^\| `(\w+Alarm)` \| .+ \| .+ \|$", text_of(OPERATION), re.MULTILINE))
    assert rows == alarms


def test_every_metric_is_in_the_page_of_operation() -> None:
    assert [name for name in Metric if f"`{name}`" not in text_of(OPERATION)] == []


def test_every_benchmark_is_in_the_page_of_this_machine() -> None:
    assert [name for name in BENCHMARKS if f"`{name}`" not in text_of(LOCAL)] == []


@pytest.mark.parametrize(
    "request_model", [ChatRequest, EmbeddingRequest, SearchRequest, ExplainRequest, LegacyEmbedRequest]
)
def test_every_field_of_a_request_is_in_the_page_of_the_api(request_model: type[BaseModel]) -> None:
    page = text_of(API)
    assert [name for name in request_model.model_fields if f"`{name}`" not in page and f'"{name}"' not in page] == []


def test_every_command_is_in_the_page_of_this_machine() -> None:
    table = text_of(LOCAL).partition("| command | what it does |")[2].partition("\n\n")[0]
    names = set(re.findall(r"`([\w-]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    single = {one.name or (one.callback and one.callback.__name__) for one in commands.registered_commands}
    assert names == single | {group.name for group in commands.registered_groups}


def test_every_command_and_option_for_keys_is_in_the_page_of_operation() -> None:
    (group,) = (one.typer_instance for one in commands.registered_groups if one.name == "keys")
    assert group is not None
    section = text_of(OPERATION).partition("### Keys of callers")[2].partition("\n## ")[0]
    assert [one.name for one in group.registered_commands if f"`{one.name}`" not in section] == []
    assert [option for option in Clearable if f"`--{option}" not in section] == []


def test_every_option_of_the_local_stack_is_in_the_page_of_this_machine() -> None:
    (command,) = local_stack.registered_commands
    assert command.callback is not None
    names = command.callback.__kwdefaults__
    assert names
    assert [name for name in names if f"`--{name.replace('_', '-')}" not in text_of(LOCAL)] == []


def test_every_folder_of_tests_is_in_their_page() -> None:
    tests = ROOT / "tests"
    folders = {path.name for path in tests.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    assert sorted(name for name in folders if f"\n| `{name}` |" not in text_of(tests / "README.md")) == []


def test_every_script_is_in_a_page() -> None:
    files = (path for path in (ROOT / "infra").glob("*/*") if path.is_file() and path.stat().st_mode & 0o100)
    scripts = [str(path.relative_to(ROOT)) for path in files]
    assert len(scripts) > 5
    everything = "".join(map(text_of, pages()))
    assert [name for name in scripts if name not in everything] == []
