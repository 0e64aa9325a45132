"""The bridge of one execution environment, and its secrets and lists of models, which are fetched again while it runs.

A secret that could not be fetched is fetched again at the next request, at most every three seconds. One that is absent
or denied is asked for again once a minute, because somebody may have created it, or allowed access. All of them are
fetched every five minutes, because they may have been rotated. The wall clock decides, because the monotonic clock may
stop while Lambda freezes the environment.
"""

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sekha_llm_bridge.bootstrap import Bridge, make_bridge
from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config import SecretCache, SecretSource, SecretUse, Settings, load_settings
from sekha_llm_bridge.config.references import AwsReference
from sekha_llm_bridge.errors import ConfigError
from sekha_llm_bridge.observability import code_location, logger
from sekha_llm_bridge.proxies import proxy_fault

_ROUTINE_INTERVAL = timedelta(minutes=5)
_FAILED_INTERVAL = timedelta(seconds=55)  # less than the minute between two health checks
_OUTDATED_INTERVAL = timedelta(seconds=10)
_NOT_FETCHED_INTERVAL = timedelta(seconds=3)
# How long a request waits. Nothing waits for what has a value.
_MAX_WAIT_FOR_NOT_FETCHED_S = 1.0
_MAX_WAIT_FOR_FAILED_S = 0.3


@dataclass(slots=True)
class _Schedule:
    """When secrets were asked for last, by what is known of them. None: not yet."""

    routine: datetime
    failed: datetime
    not_fetched: datetime | None
    outdated: datetime | None = None


class LiveBridge:
    """The bridge that requests use now, or why there is none.

    `load` reads the settings, with secrets from the cache; `build` makes the bridge at the first settings. Both may
    raise `ConfigError`. At most one fetch runs at a time.
    """

    def __init__(
        self, load: Callable[[], Settings], build: Callable[[Settings], Bridge], secrets: SecretCache, clock: Clock
    ) -> None:
        self._load = load
        self._build = build
        self._secrets = secrets
        self._clock = clock
        self._fetch: asyncio.Future[None] | None = None
        self.current: Bridge | ConfigError = ConfigError(["the configuration is not loaded"])
        self._take(self._settings_or_error())
        self._version = secrets.version  # of the secrets in `current`; a rejected key is fetched elsewhere, too
        now = clock.now()
        self._asked = _Schedule(now, now, now)

    async def before_request(
        self, *, max_wait_s: float | None = None, uses_models: bool = True
    ) -> Bridge | ConfigError:
        """Fetches what is due, and returns the bridge for one request. It waits for secrets without which a provider
        cannot be used, by default for at most a second, and for at most `max_wait_s` for any; then, if the request
        `uses_models`, for the lists of models of providers that have one.
        """
        await self._fetch_secrets(max_wait_s)
        if uses_models and isinstance(self.current, Bridge) and (lists := self.current.model_lists) is not None:
            await lists.refresh(max_wait_s=max_wait_s)
            self.current = self.current.with_model_lists()  # of now: another request may have replaced it meanwhile
        return self.current

    async def _fetch_secrets(self, max_wait_s: float | None) -> None:
        if not self._secrets.references:
            return
        is_waited_for = bool(self._secrets.not_fetched)
        wait_s = _MAX_WAIT_FOR_NOT_FETCHED_S if is_waited_for else 0.0
        if not self._is_fetching():
            due, wait_s = self._due()
            if not due:
                return
            self._fetch = asyncio.ensure_future(self._renew(due))
        if (fetch := self._fetch) is not None:
            await asyncio.wait({fetch}, timeout=wait_s if max_wait_s is None else max_wait_s)

    def after_restore(self) -> None:
        """Makes an environment that was restored from a snapshot differ from the others: fresh secrets, new
        connections, a seed of its own. It never fails; what could not be fetched keeps its value, and is due at once.
        """
        random.seed()
        if isinstance(self.current, Bridge):
            self.current.connections.forget()
        if not self._secrets.references:
            return
        now = self._clock.now()
        self._asked = _Schedule(now, now, not_fetched=None)
        try:
            self._secrets.fetch(self._secrets.references, fresh=True)
            self._version = self._secrets.version
            self._take(self._settings_or_error())
        except Exception as exc:  # noqa: BLE001 — the restore would fail, and every request with it
            logger().error("secrets are not fresh after a restore", extra={"code_location": code_location(exc)})

    def _due(self) -> tuple[frozenset[AwsReference], float]:
        """Returns what is to be fetched now, and for how many seconds a request waits for it."""
        now, secrets, asked = self._clock.now(), self._secrets, self._asked
        due, wait_s = frozenset[AwsReference](), 0.0
        if _has_passed(_ROUTINE_INTERVAL, asked.routine, now):
            due, asked.routine = secrets.references, now
        if (outdated := secrets.outdated - secrets.failed) and _has_passed(_OUTDATED_INTERVAL, asked.outdated, now):
            due, asked.outdated = due | outdated, now
        if (failed := secrets.failed) and _has_passed(_FAILED_INTERVAL, asked.failed, now):
            due, asked.failed, wait_s = due | failed, now, _MAX_WAIT_FOR_FAILED_S
        if (missing := secrets.not_fetched) and _has_passed(_NOT_FETCHED_INTERVAL, asked.not_fetched, now):
            due, asked.not_fetched, wait_s = due | missing, now, _MAX_WAIT_FOR_NOT_FETCHED_S
        return due, wait_s

    def _is_fetching(self) -> bool:
        fetch = self._fetch
        return fetch is not None and not fetch.done() and fetch.get_loop() is asyncio.get_running_loop()

    async def _renew(self, due: frozenset[AwsReference]) -> None:
        """Fetches in a thread: reading the file takes time, too, and requests under way shall not wait for it."""

        def fetch() -> tuple[int, Settings | ConfigError] | None:
            self._secrets.fetch(due, fresh=True)
            version = self._secrets.version
            return None if version == self._version else (version, self._settings_or_error())

        try:
            if (found := await asyncio.to_thread(fetch)) is not None:
                self._version, settings = found
                self._take(settings)
        except Exception as exc:  # noqa: BLE001 — a request that could be answered must not fail because of this
            logger().error("secrets cannot be fetched again", extra={"code_location": code_location(exc)})

    def _settings_or_error(self) -> Settings | ConfigError:
        try:
            return self._load()
        except ConfigError as exc:
            return exc

    def _take(self, found: Settings | ConfigError) -> None:
        """Puts settings into use. An error does not replace a bridge that works."""
        if isinstance(self.current, Bridge):
            if isinstance(found, Settings) and found != self.current.settings:
                _log_changes(self.current.settings, found)
                self.current = self.current.with_settings(found)
            return
        if isinstance(found, Settings):
            try:
                self.current = self._build(found)
            except ConfigError as exc:
                found = exc
        if isinstance(found, ConfigError):
            if str(found) != str(self.current):
                for fault in found.faults:
                    logger().error(fault)
            self.current = found


def _has_passed(interval: timedelta, since: datetime | None, now: datetime) -> bool:
    return since is None or now - since >= interval


def _log_changes(before: Settings, after: Settings) -> None:
    """Logs which providers can be used now, and which no more, once."""
    old, new = _unusable(before), _unusable(after)
    for provider_id in old.keys() - new.keys():
        logger().info("the secret of a provider was fetched", extra={"provider": provider_id})
    for provider_id, reason in new.items():
        if old.get(provider_id) != reason:
            logger().warning("a provider cannot be used", extra={"provider": provider_id, "reason": reason})


def _unusable(settings: Settings) -> dict[str, str]:
    return {**{one.config.id: one.reason for one in settings.disabled}, **settings.pending}


@cache
def live_bridge(uses: SecretUse = SecretUse.ALL) -> LiveBridge:
    """Returns the bridge of this execution environment, from the configured file. `uses`: the secrets that the function
    reads. It is renewed after a restore from a snapshot.
    """
    clock, secrets = SystemClock(), SecretCache(_aws_secrets)
    live = LiveBridge(
        lambda: load_settings(secrets=secrets, uses=uses),
        lambda settings: _configured_bridge(settings, secrets, clock),
        secrets,
        clock,
    )
    _register_after_restore(live.after_restore)
    return live


def _aws_secrets() -> SecretSource:
    from sekha_llm_bridge.config.aws_secrets import AwsSecrets  # a file without references starts faster

    return AwsSecrets()


def _configured_bridge(settings: Settings, secrets: SecretCache, clock: Clock) -> Bridge:
    """Returns the bridge with the stack's resources. Raises `ConfigError` for a proxy that cannot be used."""
    if (fault := proxy_fault(provider.base_url or "" for provider in settings.providers)) is not None:
        raise ConfigError([fault])
    for warning in settings.warnings:
        logger().warning(warning)
    return make_bridge(
        settings,
        table=os.environ.get("STATE_TABLE", ""),
        queue_url=os.environ.get("VECTOR_QUEUE_URL", ""),
        dead_letters_url=os.environ.get("VECTOR_DEAD_LETTERS_URL", ""),
        answers_table=os.environ.get("ANSWERS_TABLE", ""),
        clock=clock,
        secrets=secrets,
    )


def _register_after_restore(hook: Callable[[], None]) -> None:
    try:
        from snapshot_restore_py import (  # type: ignore[import-untyped]  # part of Lambda's runtime, and only there
            register_after_restore,
        )
    except ImportError:
        return
    register_after_restore(hook)
