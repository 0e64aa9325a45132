"""The page of `GET /`: plain HTML with its style inside, without scripts and without anything from elsewhere.

Every text is escaped here, whatever it comes from: names of models and providers are the operator's, the address is the
client's.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

_TEXT = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
_PAGE = Template(_TEXT)
_PAGE_WITHOUT_KEY = Template(Path(__file__).with_name("page_without_key.html").read_text(encoding="utf-8"))
_STYLE = re.search(r"<style>(.*?)</style>", _TEXT, re.DOTALL)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE[1].encode() if _STYLE else b"").digest()).decode()

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{_STYLE_HASH}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Allows the page's own style and its icon, and nothing else."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_BREAKERS = {"closed": "closed", "open": "open", "half_open": "half-open"}
_AUTO = "auto"
_SAME_AS = "; same as "
_NO_PROVIDER = "No provider is in use."


def page(overview: Mapping[str, Any], now: datetime) -> str:
    """Returns the page for the `overview` of the same name."""
    texts = ("name", "description", "version", "status", "base_url", "openapi_url", "health_url", "example")
    return _PAGE.substitute(
        {key: escape(str(overview[key])) for key in texts},
        summary=escape(_summary(overview)),
        notes=_notes(overview["notes"]),
        names=", ".join(f"<code>{escape(name)}</code>" for name in sorted(overview["names"], key=_AUTO.__ne__)),
        providers=_providers(overview, now),
        models=_models(overview["models"]),
        paths=_paths(overview["paths"]),
    )


def page_without_key(visible: Mapping[str, Any]) -> str:
    """Returns the page for who sends no valid API key: status and version."""
    texts = {key: escape(str(visible[key])) for key in ("status", "version")}
    return _PAGE_WITHOUT_KEY.substitute(texts, style=_STYLE[0] if _STYLE else "")


def _summary(overview: Mapping[str, Any]) -> str:
    rows = overview["providers"].values()
    usable = sum(row["status"] in {"healthy", "unknown"} for row in rows)
    models = len({row["model_id"] for row in overview["models"]})
    if not rows:
        return _NO_PROVIDER
    return f"{usable} of {_number(len(rows), 'provider')} without a problem, {_number(models, 'model')}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _providers(overview: Mapping[str, Any], now: datetime) -> str:
    rows = [_provider(name, row, now) for name, row in overview["providers"].items()]
    rows += [_disabled_provider(name, reason) for name, reason in overview["disabled_providers"].items()]
    if not rows:
        return f"<p>{_NO_PROVIDER}</p>"
    heads = {
        "Provider": "",
        "Status": "",
        "Circuit breaker": "",
        "Last check": "",
        "Latency": "number",
        "Models": "number",
    }
    return _table("providers", heads, rows)


def _provider(name: str, row: Mapping[str, Any], now: datetime) -> str:
    has_latency = row["latency_ms"] is not None
    latency = f"{row['latency_ms']:,} ms" if has_latency else "–"
    cells = (
        _cell("Status", _badge(row["status"]), detail=row.get("reason") or row["error"]),
        _cell("Circuit breaker", *_breaker(row["circuit_breaker"])),
        _cell("Last check", _moment(row["last_checked"], now)),
        _cell("Latency", latency, kind="number" if has_latency else "number none"),
        _cell("Models", str(row["models_count"]), kind="number"),
    )
    return _row(escape(name), cells, detail=row["provider_type"])


def _disabled_provider(name: str, reason: str) -> str:
    rest = (_cell(label, "–", kind="none") for label in ("Circuit breaker", "Last check"))
    numbers = (_cell(label, "–", kind="number none") for label in ("Latency", "Models"))
    return _row(escape(name), (_cell("Status", _badge("disabled"), detail=reason), *rest, *numbers))


def _breaker(breaker: Mapping[str, Any]) -> tuple[str, str | None]:
    failures = breaker["failure_count"]
    details = [_number(failures, "failure") + " in a row"] if failures else []
    if breaker.get("retry_at"):
        details.append(f"next attempt from {_clock_time(breaker['retry_at'])}")
    return escape(_BREAKERS.get(breaker["state"], breaker["state"])), "; ".join(details) or None


def _models(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>No model is configured.</p>"
    heads = {
        "Model": "",
        "Provider": "",
        "Tasks": "",
        "Context window": "number",
        "Input": "number",
        "Output": "number",
    }
    return _table("models", heads, map(_model, rows))


def _model(row: Mapping[str, Any]) -> str:
    has_output = row["tasks"] != ["embedding"]
    cells = (
        _cell("Provider", escape(row["provider_id"])),
        _cell("Tasks", escape(", ".join(row["tasks"]))),
        _cell("Context window", f"{row['context_window']:,} tokens", kind="number"),
        _cell("Input", _price(row["input_usd_per_mtok"]), kind="number"),
        _cell("Output", _price(row["output_usd_per_mtok"]), kind="number")
        if has_output
        else _cell("Output", "–", kind="number none"),
    )
    dimension = f"{row['dimension']:,} dimensions" if row["dimension"] else None
    return _row(escape(row["model_id"]), cells, detail=dimension)


def _price(usd_per_mtok: float | None) -> str:
    if usd_per_mtok is None:
        return "not known"
    if not usd_per_mtok:
        return "free"
    return f"${usd_per_mtok:,.2f}" if round(usd_per_mtok, 2) == usd_per_mtok else f"${usd_per_mtok:,.6f}".rstrip("0")


def _paths(rows: Sequence[Mapping[str, str]]) -> str:
    """Returns the table of the paths, with those that are the same as another one below it."""
    others: dict[str, list[str]] = {}
    for row in rows:
        if _SAME_AS in row["summary"]:
            others.setdefault(row["summary"].partition(_SAME_AS)[2], []).append(row["path"])
    shown = [_path(row, others.get(row["path"], ())) for row in rows if _SAME_AS not in row["summary"]]
    return _table("paths", {"Path": "", "What it does": ""}, shown)


def _path(row: Mapping[str, str], others: Sequence[str]) -> str:
    name = f'<span class="method">{escape(row["method"])}</span><code>{escape(row["path"])}</code>'
    also = f"also {', '.join(f'<code>{escape(other)}</code>' for other in others)}"
    name += f'<small class="also">{also}</small>' if others else ""
    return _row(f'<span class="operation">{name}</span>', [_cell("What it does", escape(row["summary"]), kind="wide")])


def _table(label: str, heads: Mapping[str, str], rows: Iterable[str]) -> str:
    """Returns a table. `heads` are the columns, each with its class. The roles are written out, because narrow screens
    show the rows as blocks, which are no table for a browser otherwise.
    """
    columns = "".join(
        f'<th role="columnheader" scope="col"{_class(kind)}>{escape(head)}</th>' for head, kind in heads.items()
    )
    return (
        f'<table role="table" aria-labelledby="{label}"><thead role="rowgroup"><tr role="row">{columns}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )


def _row(name: str, cells: Iterable[str], *, detail: str | None = None) -> str:
    """Returns a row. `name` is HTML."""
    return f'<tr role="row"><th role="rowheader" scope="row">{name}{_detail(detail)}</th>{"".join(cells)}</tr>'


def _cell(label: str, shown: str, detail: str | None = None, *, kind: str = "") -> str:
    """Returns a cell. `shown` is HTML; `label` is its column's name on narrow screens."""
    return f'<td role="cell"{_class(kind)} data-label="{escape(label)}"><span>{shown}{_detail(detail)}</span></td>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _detail(text: str | None) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _badge(status: str) -> str:
    return f'<span class="badge {escape(status)}">{escape(status)}</span>'


def _moment(iso: str | None, now: datetime) -> str:
    """Returns how long ago a moment was, with the moment itself for programs."""
    if iso is None:
        return "not yet"
    age_s = max(0, round((now - datetime.fromisoformat(iso)).total_seconds()))
    return f'<time datetime="{escape(iso)}">{_age(age_s)}</time>'


def _age(age_s: int) -> str:
    if age_s < _MINUTE_S:
        return f"{age_s} s ago"
    if age_s < _HOUR_S:
        return f"{age_s // _MINUTE_S} min ago"
    return f"{age_s // _HOUR_S} h ago" if age_s < _DAY_S else f"{_number(age_s // _DAY_S, 'day')} ago"


def _clock_time(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%H:%M:%S} UTC"
