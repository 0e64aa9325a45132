"""`sekha-bridge check-config`: prints the providers, their URLs and models, and warnings; or all faults."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from sekha_llm_bridge.cli.terminal import make_console
from sekha_llm_bridge.config import ModelConfig, ProviderConfig, Settings, Task, load_settings
from sekha_llm_bridge.config.endpoints import mask_user_info
from sekha_llm_bridge.config.plain_http import plain_http_warnings
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.pricing import Price, PriceBook, usd_text
from sekha_llm_bridge.providers.addresses import masked_addresses_of
from sekha_llm_bridge.proxies import proxy_fault
from sekha_llm_bridge.routing.configuration_warnings import configuration_warnings, cost_limit_summary


@dataclass(frozen=True, slots=True)
class Row:
    """One provider of the file. `reason` says why it is disabled; None when it is in use."""

    provider: ProviderConfig
    reason: str | None


def run(file: Path | None, *, as_json: bool) -> int:
    """Checks `file`, or the configured file, and prints the result. Returns the exit code: 0, or 2 for an invalid
    file."""
    try:
        settings = load_settings(file)
    except ConfigError as error:
        _print_faults(error, as_json=as_json)
        return 2
    warnings = [*settings.warnings, *configuration_warnings(settings), *plain_http_warnings(settings)]
    if (unusable_proxy := proxy_fault(provider.base_url or "" for provider in settings.providers)) is not None:
        warnings.append(f"{unusable_proxy}; with it, the bridge does not start")
    warnings += [f"{fault}; without it, the bridge does not start" for fault in _address_faults(settings)]
    prices = PriceBook()
    if as_json:
        _print_json(
            {
                "ok": True,
                "path": str(settings.path),
                "providers": [_provider_data(row, prices) for row in rows(settings)],
                "aliases": settings.aliases,
                "cost_limit": _cost_limit_data(settings),
                "warnings": warnings,
                "faults": [],
            }
        )
    else:
        _print_table(settings, prices, warnings)
    return 0


def rows(settings: Settings) -> list[Row]:
    """Returns every provider of the file: first the ones in use, then the disabled ones. A provider whose secret could
    not be fetched now has the reason of that.
    """
    in_use = [Row(provider, settings.pending.get(provider.id)) for provider in settings.providers]
    return in_use + [Row(left_out.config, left_out.reason) for left_out in settings.disabled]


def _cost_limit_data(settings: Settings) -> dict[str, Any]:
    summary = cost_limit_summary(settings)
    usd = None if summary.usd is None else usd_text(summary.usd)
    return {"usd": usd, "is_default": summary.is_default, "unlimited_models": dict(summary.unlimited_models)}


def _print_faults(error: ConfigError, *, as_json: bool) -> None:
    if as_json:
        _print_json({"ok": False, "providers": [], "warnings": [], "faults": list(error.faults)})
        return
    for fault in error.faults:
        sys.stderr.write(f"{fault}\n")
    count = len(error.faults)
    sys.stderr.write(f"{count} fault{'' if count == 1 else 's'}: the configuration cannot be used\n")


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _print_table(settings: Settings, prices: PriceBook, warnings: list[str]) -> None:
    console = make_console()
    console.print(_table(settings, prices))
    for row in rows(settings):
        urls = _urls(row.provider).items()
        console.print("\n".join([row.provider.id, *(f"  {use:<10} {url}" for use, url in urls)]))
    for alias, targets in settings.aliases.items():
        console.print(f"alias {alias}: {', '.join(targets)}", markup=False)
    for sentence in cost_limit_summary(settings).sentences():
        console.print(sentence, markup=False)
    for warning in warnings:
        console.print(Text.assemble(("warning:", "yellow"), f" {warning}"))
    console.print(Text.assemble(f"{settings.path}: ", ("valid", "green"), f", {_summary(settings)}"))


def _table(settings: Settings, prices: PriceBook) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("provider and models", overflow="fold")
    table.add_column("tasks", overflow="fold")
    table.add_column("window", justify="right")
    table.add_column("USD per Mtok", justify="right")
    table.add_column("price from")
    for row in rows(settings):
        provider = row.provider
        state = f"priority {provider.priority}" if row.reason is None else "disabled"
        table.add_row(provider.id, f"{provider.provider_type}, {state}", style="bold" if row.reason is None else "dim")
        if provider.lists_models:
            table.add_row("  auto", "what has been pulled there", style=None if row.reason is None else "dim")
        for model in provider.models:
            cells = _model_cells(provider, model, prices)
            table.add_row(*map(Text, cells), style=None if row.reason is None else "dim")
    return table


def _model_cells(provider: ProviderConfig, model: ModelConfig, prices: PriceBook) -> tuple[str, ...]:
    price = prices.price(provider, model)
    source = price.source if price else ""
    return (f"  {model.model_id}", ", ".join(model.all_tasks), f"{model.context_window:,}", _price_text(price), source)


def _price_text(price: Price | None) -> str:
    if price is None:
        return "not known"
    rates = price.rates
    return "free" if price.is_free else f"{usd_text(rates.input_usd_per_mtok)} / {usd_text(rates.output_usd_per_mtok)}"


def _summary(settings: Settings) -> str:
    models = sum(len(provider.models) for provider in settings.providers)
    listing = [provider.id for provider in settings.providers if provider.lists_models]
    found = f" and what {', '.join(listing)} {'has' if len(listing) == 1 else 'have'}" if listing else ""
    in_use = f"{_counted(len(settings.providers), 'provider')} with {_counted(models, 'model')}{found} in use"
    return f"{in_use}, {len(settings.disabled)} disabled" if settings.disabled else in_use


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _provider_data(row: Row, prices: PriceBook) -> dict[str, Any]:
    provider = row.provider
    return {
        "id": provider.id,
        "provider_type": provider.provider_type,
        "base_url": mask_user_info(provider.base_url) if provider.base_url else None,
        "urls": _urls(provider),
        "priority": provider.priority,
        "enabled": row.reason is None,
        "reason": row.reason,
        "lists_models": provider.lists_models,
        "models": [_model_data(model, prices.price(provider, model)) for model in provider.models],
    }


def _address_faults(settings: Settings) -> list[str]:
    """Returns what the addresses of the providers lack: Bedrock's need a region, which Lambda sets and this machine may
    not.
    """
    faults: list[str] = []
    for provider in settings.providers:
        try:
            masked_addresses_of(provider)
        except ConfigError as error:
            faults += error.faults
    return faults


def _urls(provider: ProviderConfig) -> dict[str, str]:
    """Returns the URLs that will be requested, by their use; none while they are not known (`_address_faults`)."""
    try:
        addresses = masked_addresses_of(provider)
    except ConfigError:
        return {}
    lists = provider.lists_models
    embeds = lists or any(model.serves(Task.EMBEDDING) for model in provider.models)
    uses = {
        "chat": addresses.chat if lists or any(model.is_chat for model in provider.models) else None,
        "embeddings": addresses.embeddings if embeds else None,
        "probe": addresses.models,
    }
    return {use: url for use, url in uses.items() if url is not None}


def _model_data(model: ModelConfig, price: Price | None) -> dict[str, Any]:
    return {
        "model_id": model.model_id,
        "tasks": list(model.all_tasks),
        "context_window": model.context_window,
        "input_usd_per_mtok": None if price is None else usd_text(price.rates.input_usd_per_mtok),
        "output_usd_per_mtok": None if price is None else usd_text(price.rates.output_usd_per_mtok),
        "price_source": None if price is None else price.source,
    }
