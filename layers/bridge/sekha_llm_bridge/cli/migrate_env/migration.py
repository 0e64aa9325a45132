"""The whole migration: a v1 file to the text of the YAML, and the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.migrate_env.known_variables import is_carried
from sekha_llm_bridge.cli.migrate_env.ollama import ollama_provider, unused_variables
from sekha_llm_bridge.cli.migrate_env.providers import map_providers
from sekha_llm_bridge.cli.migrate_env.report import Report
from sekha_llm_bridge.cli.migrate_env.sections import map_chroma, map_default_models, map_routing
from sekha_llm_bridge.cli.migrate_env.settings_tree import report_other_variables, settings_tree
from sekha_llm_bridge.cli.migrate_env.source import Source, UnusableFile, V1Node, read_source
from sekha_llm_bridge.cli.migrate_env.target import Node, Section, Setting, fixed
from sekha_llm_bridge.cli.migrate_env.validity import remove_invalid
from sekha_llm_bridge.cli.migrate_env.values import Values
from sekha_llm_bridge.cli.migrate_env.yaml_writer import yaml_of

_EXAMPLES = "OLLAMA_BASE_URL, EMBEDDING_MODEL, CHAT_MODEL, SEKHA__LLM_PROVIDERS"
_LIST_NAMES = ("llm_providers", "providers")


@dataclass(frozen=True, slots=True)
class Migration:
    """The text of the YAML, and what the user must know. `is_complete`: nothing was left out."""

    yaml: str
    report: Report

    @property
    def is_complete(self) -> bool:
        """Whether every setting of v1 is in the YAML."""
        return not self.report.left_out


def migrate(path: Path, service: str | None = None) -> Migration:
    """Reads the v1 file and returns its YAML, which the bridge's loader accepts. Raises `UnusableFile`."""
    return migrate_source(read_source(path, service))


def migrate_source(source: Source) -> Migration:
    """Returns the YAML for the variables. Raises `UnusableFile` when none of them is of v1."""
    if not source.settings and not any(is_carried(name) for name, one in source.variables.items() if one.raw.strip()):
        raise UnusableFile(f"{source.path}: has no variable of v1, such as {_EXAMPLES}: give the file that v1 used")
    report = Report(notes=list(source.notes))
    values = Values(source, report)
    tree = _tree(values, settings_tree(values))
    remove_invalid(tree, report)
    report_other_variables(values)
    yaml = yaml_of(tree)
    report.secrets = {name: place for name, place in report.secrets.items() if f"${{{name}" in yaml}
    return Migration(f"{_header(source, report)}\n\n{yaml}", report)


def _tree(values: Values, v1: dict[str, V1Node]) -> Section:
    listed = next((node for name in _LIST_NAMES if isinstance(node := v1.get(name), list) and node), None)
    if listed is None:
        provider, defaults = ollama_provider(values)
        providers: list[dict[str, Node]] = [provider]
    else:
        providers, defaults = map_providers(listed, values), {}
        for variable, reason in unused_variables(values, _texts(providers, "model_id"), _urls(providers)):
            values.report.leave_out(variable.name, reason)
    named = map_default_models(v1.get("default_models"), values)
    sections = {
        "default_models": {**defaults, **named},
        "routing": map_routing(v1.get("routing"), v1.get("circuit_breaker"), values),
        "chroma": map_chroma(values),
    }
    filled = {name: _with_empty_defaults(section) for name, section in sections.items() if section}
    return {"version": fixed("2.0"), "providers": providers, **filled}


def _with_empty_defaults(section: Section) -> Section:
    """Returns the section with `${NAME:-}` for `${NAME}`: outside providers, a variable without a value is a fault."""
    done: Section = {}
    for key, node in section.items():
        if isinstance(node, Setting) and node.text.startswith("${") and node.text.find("}") == len(node.text) - 1:
            text = node.text if ":-" in node.text else f"{node.text[:-1]}:-}}"
            done[key] = node._replace(text=text)
        else:
            done[key] = _with_empty_defaults(node) if isinstance(node, dict) else node
    return done


def _texts(providers: list[dict[str, Node]], key: str) -> frozenset[str]:
    models = [model for one in providers if isinstance(found := one.get("models"), list) for model in found]
    return frozenset(setting.text for model in models if isinstance(setting := model.get(key), Setting))


def _urls(providers: list[dict[str, Node]]) -> frozenset[str]:
    return frozenset(url.text.rstrip("/") for one in providers if isinstance(url := one.get("base_url"), Setting))


def _header(source: Source, report: Report) -> str:
    return "\n".join(f"# {printable(line)}".rstrip() for line in _header_lines(source, report))


def _header_lines(source: Source, report: Report) -> Iterator[str]:
    yield f"Made by `sekha-bridge migrate-env` from {source.path.name}. `sekha-bridge check-config` shows what it does."
    if report.secrets:
        yield f"Set in the bridge's environment, or replace by ${{ssm:/…}}: {', '.join(report.secrets)}"
    for note in report.notes:
        yield f"Note: {note}"
    if report.left_out:
        yield "Not carried over:"
        for reason, places in report.places_by_reason().items():
            yield from fill(
                f"{', '.join(places)}: {reason}", 110, initial_indent="  ", subsequent_indent="    "
            ).splitlines()
    if report.foreign:
        yield from fill(f"Not of v1, so left out: {', '.join(report.foreign)}", 110).splitlines()
