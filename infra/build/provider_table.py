"""Writes the tables of `config/PROVIDERS.md`: the types of providers, the fields of a request, and the vendors.

    .local/envs/bridge/bin/python infra/build/provider_table.py

They come from the code: `ENDPOINTS`, the field table, the adapters' capabilities and the rows of the vendors.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "layers" / "bridge"))

from page_sections import table, with_section  # noqa: E402 — needs the path that is set above
from sekha_llm_bridge.config.endpoints import ENDPOINTS  # noqa: E402 — needs the path that is set above
from sekha_llm_bridge.config.models import ProviderType  # noqa: E402 — as above
from sekha_llm_bridge.providers import RequestFeature, capabilities_of  # noqa: E402 — as above
from sekha_llm_bridge.providers.cache_support import MIN_TOKENS, MIN_TOKENS_AT_BEDROCK, min_tokens  # noqa: E402 — as above
from sekha_llm_bridge.providers.field_table import FIELD_TABLE, FieldRow, Handling, handling  # noqa: E402 — as above
from sekha_llm_bridge.providers.openai.vendors import VENDORS, VENDORS_BY_HOST, Vendor  # noqa: E402 — as above

DOCUMENT = ROOT / "config" / "PROVIDERS.md"

_FORMATS = {"openai": "OpenAI's format", "anthropic": "Anthropic", "bedrock": "Bedrock", "ollama": "Ollama"}
_FORMATS_OF_TYPES = {
    ProviderType.ANTHROPIC: "Anthropic's Messages",
    ProviderType.BEDROCK: "Bedrock's Converse",
    ProviderType.OLLAMA: "Ollama's",
}
_LEGEND = (
    "*yes*: it is translated. *excludes*: a request that uses it goes to other models, and the error names it if there "
    "are none. *noted*: it is left out with a note in `bridge.notes`. *–*: the answer is the same without it.\n"
)
_CACHES = (
    "With `prompt_cache: auto`, the tools and the first system messages of a request get a mark for the cache where "
    "they have at least so many tokens: a model caches no fewer. The longest name counts.\n"
)


def main() -> None:
    """Writes the tables into the document."""
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """Returns the document with tables that are made anew. Raises ValueError where it has no markers for them."""
    sections = {
        "Types": types_table(),
        "Fields": f"{_LEGEND}\n{fields_table()}",
        "Vendors": vendors_table(),
        "Caches": f"{_CACHES}\n{caches_table()}",
    }
    return with_section(text, "tables", "\n".join(f"### {title}\n\n{one}" for title, one in sections.items()))


def types_table() -> str:
    """Returns the table of the provider types: the wire format and the default address of each."""
    rows = [
        (f"`{kind}`", _FORMATS_OF_TYPES.get(kind, "OpenAI's"), _address(endpoint.default_url, is_aws=kind == "bedrock"))
        for kind, endpoint in ENDPOINTS.items()
    ]
    return table(("`provider_type`", "format", "`base_url` if none is given"), rows)


def _address(url: str | None, *, is_aws: bool) -> str:
    if url is not None:
        return f"`{url}`"
    return "made from the region" if is_aws else "must be given"


def fields_table() -> str:
    """Returns the table of the fields that some format does not carry, and a list of those that all do."""
    special = [row for row in FIELD_TABLE if not _is_always_carried(row)]
    carried = ", ".join(f"`{row.name}`" for row in FIELD_TABLE if _is_always_carried(row))
    rows = [(_shown(row.name), *(handling(row, one).value for one in _FORMATS), row.remark) for row in special]
    special_rows = table(("field", *_FORMATS.values(), "why it may be left out"), [*rows, _images_by_url()])
    return f"{special_rows}\nAll carry: {carried}.\n"


def _is_always_carried(row: FieldRow) -> bool:
    return all(handling(row, one) is Handling.CARRIED for one in _FORMATS)


def _shown(name: str) -> str:
    field, _, rest = name.partition(" ")
    return f"`{field}` {rest}".strip()


def _images_by_url() -> tuple[str, ...]:
    has_urls = [RequestFeature.IMAGE_BY_URL in capabilities_of(ProviderType(one)).features for one in _FORMATS]
    return ("images by URL", *("yes" if one else "fetched by the bridge" for one in has_urls), "")


def vendors_table() -> str:
    """Returns the table of the vendors of OpenAI's format: what is special about each."""
    kinds = [kind for kind in VENDORS if kind is not ProviderType.OPENAI]
    rows = [(f"`provider_type: {kind}`", *_differences(VENDORS[kind])) for kind in kinds]
    for vendor in dict.fromkeys(VENDORS_BY_HOST.values()):
        hosts = ", ".join(f"`{host}`" for host, one in VENDORS_BY_HOST.items() if one == vendor)
        rows.append((hosts, *_differences(vendor)))
    rows.append(("any other", *_differences(Vendor())))
    head = ("vendor", "excluded by", "left out", "output limit as", "texts in one call of embeddings", "besides")
    return table(head, rows)


def caches_table() -> str:
    """Returns the table of the shortest beginnings of prompts that Claude's models cache."""
    rows = [
        (f"`{name}…`", f"{tokens:,}", f"{MIN_TOKENS_AT_BEDROCK.get(name, tokens):,}")
        for name, tokens in {**MIN_TOKENS, **_only_at_bedrock()}.items()
    ]
    return table(("model", "Anthropic, OpenRouter, LiteLLM", "Bedrock"), sorted(rows))


def _only_at_bedrock() -> dict[str, int]:
    return {name: min_tokens(name, MIN_TOKENS) or 0 for name in MIN_TOKENS_AT_BEDROCK}


def _differences(vendor: Vendor) -> tuple[str, ...]:
    lacks = [feature.value for feature in vendor.lacks]
    names = {"response_format": "response_format json_schema"}
    lacks += [names.get(name, name) for name in vendor.unsupported_fields]
    return (
        ", ".join(sorted(lacks)) or "–",
        ", ".join(f"`{name}`" for name in sorted(vendor.omitted_fields)) or "–",
        f"`{vendor.output_cap_field}`",
        str(vendor.embedding_limits.max_texts),
        "; ".join(_other_differences(vendor)) or "–",
    )


def _other_differences(vendor: Vendor) -> Iterator[str]:
    yield from (f"`{name}` is sent as `{other}`" for name, other in vendor.renamed_fields)
    if vendor.accepts_price_ceiling:
        yield "gets a highest price under a cost limit"
    if not vendor.takes_cache_marks:
        yield "`cache_control` is left out: it caches by itself"
    if vendor.auth_header != Vendor().auth_header:
        yield f"the key is in the header `{vendor.auth_header}`"
    if vendor.models_path is not None:
        yield f"models at `{vendor.models_path}`"


if __name__ == "__main__":
    main()
