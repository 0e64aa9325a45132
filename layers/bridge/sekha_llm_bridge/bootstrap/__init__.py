"""The composition root: the only package that names concrete classes. One bridge per execution environment."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from sekha_llm_bridge.access.caller import ANYONE, Caller
from sekha_llm_bridge.clock import Clock, SystemClock
from sekha_llm_bridge.config import SecretCache, Settings, refresh_chroma, refresh_provider
from sekha_llm_bridge.config.models import ModelConfig, ProviderConfig
from sekha_llm_bridge.config.vocabulary import Task
from sekha_llm_bridge.connections import Connections
from sekha_llm_bridge.execution import Executor, ModelService
from sekha_llm_bridge.execution.served_prefixes import ServedPrefixes
from sekha_llm_bridge.execution.token_counts import TokenCounts
from sekha_llm_bridge.found_models import NO_LISTS, FoundModels
from sekha_llm_bridge.pricing import PriceBook
from sekha_llm_bridge.providers import ProviderDirectory
from sekha_llm_bridge.providers.http import JsonHttp
from sekha_llm_bridge.resilience import Breakers, Cooldowns, ProviderStore, UnsupportedFeatures
from sekha_llm_bridge.resilience.memory import MemoryProviderStore
from sekha_llm_bridge.routing import Catalog
from sekha_llm_bridge.routing.key_catalogs import KeyCatalogs

if TYPE_CHECKING:
    from sekha_llm_bridge.access.idempotency import Answers
    from sekha_llm_bridge.access.quotas import QuotaStore
    from sekha_llm_bridge.access.spending import RequestSpending
    from sekha_llm_bridge.bootstrap.spending import SpendingMaker
    from sekha_llm_bridge.bootstrap.vectors import Vectors
    from sekha_llm_bridge.embeddings.chroma_token import ChromaToken
    from sekha_llm_bridge.media.request_images import ParamOf, RequestImages
    from sekha_llm_bridge.model_lists import ModelLists, ModelListStore


class AwsResources(NamedTuple):
    """The names of the stack's resources; an empty text where there is none."""

    table: str = ""
    queue_url: str = ""
    dead_letters_url: str = ""
    answers_table: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Bridge:
    """The collaborators of every handler. `vectors` makes what stores vectors when it is first called; `images` makes
    what fetches the images of one request, by default with their paths in OpenAI's chats; `answers` makes what keeps
    answers for repeated requests; `spending_maker` makes what requests reserve of quotas. `chroma_token` is the token
    that all connections to Chroma send. `caller` is whom it serves: `catalog` has the models that this caller may use.
    """

    settings: Settings
    catalog: Catalog
    providers: ProviderDirectory
    breakers: Breakers
    service: ModelService
    vectors: Callable[[], "Vectors"]
    images: Callable[["ParamOf | None"], "RequestImages"]
    answers: Callable[[], "Answers"]
    resources: AwsResources
    connections: Connections
    clock: Clock
    catalogs: KeyCatalogs
    spending_maker: "Callable[[], SpendingMaker]"
    chroma_token: "Callable[[], ChromaToken]"
    prices: PriceBook
    model_lists: "ModelLists | None" = None
    lists: FoundModels = NO_LISTS
    caller: Caller = ANYONE

    def for_caller(self, caller: Caller) -> "Bridge":
        """Returns the bridge as this caller sees it."""
        if caller is self.caller:
            return self
        return replace(self, caller=caller, catalog=self.catalogs.of(caller.policy))

    def with_settings(self, settings: Settings) -> "Bridge":
        """Returns the bridge with settings that were read again because a secret has changed. Breakers, cool-downs,
        connections and quotas stay, and so does what a request under way uses.
        """
        token, secret = settings.chroma.auth_token, self.settings.chroma.auth_token
        self.providers.replace(settings.providers, other_secrets=[secret.get_secret_value()] if secret else [])
        is_fetched = settings.chroma_pending is None
        if (token, is_fetched) != (secret, self.settings.chroma_pending is None):  # many functions have no use for it
            self.chroma_token().replace(token, is_fetched=is_fetched)
        if self.model_lists is not None:
            self.model_lists.provider_ids = _ids_with_lists(settings.providers)
        return self._with_catalog(settings, self.lists)

    def with_model_lists(self) -> "Bridge":
        """Returns the bridge with the models of the lists that were read last; itself where they have not changed."""
        if self.model_lists is None or self.model_lists.current is self.lists:
            return self
        return self._with_catalog(self.settings, self.model_lists.current)

    def _with_catalog(self, settings: Settings, lists: FoundModels) -> "Bridge":
        catalog = Catalog.of(settings, self.prices, lists)
        catalogs = KeyCatalogs(catalog)
        vectors = self.vectors
        if _default_embedding(catalog) != _default_embedding(
            self.catalog
        ):  # otherwise its connections to Chroma are kept
            vectors = _vectors_maker(settings, catalog, self.connections, self.clock, self.resources, self.chroma_token)
        return replace(
            self,
            settings=settings,
            lists=lists,
            catalog=catalog,
            catalogs=catalogs,
            service=self.service.with_catalogs(catalogs),
            vectors=vectors,
        )

    @property
    def is_restricted(self) -> bool:
        """Whether the caller may use only some of the models."""
        return bool(self.caller.policy.models or self.caller.policy.tasks)

    @property
    def has_quota(self) -> bool:
        """Whether the requests of the caller are counted."""
        budget, policy = self.settings.routing.budget, self.caller.policy
        has_budget = policy.has_budget or budget.daily_usd is not None or budget.monthly_usd is not None
        return has_budget or policy.has_rate_limits

    def spending(self, *, remaining_s: float) -> "RequestSpending | None":
        """Returns the reservations of a request that ends within `remaining_s`; None where no quota counts it."""
        return self.spending_maker().make(self.caller, remaining_s=remaining_s) if self.has_quota else None


def make_bridge(
    settings: Settings,
    *,
    table: str = "",
    queue_url: str = "",
    dead_letters_url: str = "",
    answers_table: str = "",
    store: ProviderStore | None = None,
    quota_store: "QuotaStore | None" = None,
    list_store: "ModelListStore | None" = None,
    clock: Clock | None = None,
    secrets: SecretCache | None = None,
) -> Bridge:
    """Returns a bridge with these settings. `secrets` fetches rotated secrets, by default from AWS.

    Breakers are kept in the DynamoDB table `table`; without one in `store`, else in memory; quotas likewise, with
    `quota_store`, and lists of models with `list_store`. Answers to requests with an `Idempotency-Key` are kept in
    `answers_table`, without one in memory. Vectors that Chroma does not accept wait in the queue, where there are a
    queue and a table.
    """
    clock = clock or SystemClock()
    resources = AwsResources(table, queue_url, dead_letters_url, answers_table)
    connections = Connections(clock)
    prices = PriceBook()
    catalog = Catalog.of(settings, prices)
    catalogs = KeyCatalogs(catalog)
    providers = ProviderDirectory(
        settings.providers,
        JsonHttp(clock, connections),
        clock,
        lambda provider_id: refresh_provider(settings, provider_id, secrets=secrets),
        other_secrets=[settings.chroma.auth_token.get_secret_value()] if settings.chroma.auth_token else [],
    )
    routing, cooldowns, unsupported = settings.routing, Cooldowns(clock), UnsupportedFeatures(clock)
    breakers = Breakers(
        _table_store(table, connections, clock) if table else store or MemoryProviderStore(),
        [*(config.id for config in settings.providers), *(one.config.id for one in settings.disabled)],
        routing.circuit_breaker,
        clock,
    )
    executor = Executor(
        providers, clock, cooldowns=cooldowns, unsupported=unsupported, auto_fallback=routing.auto_fallback
    )

    @cache
    def chroma_token() -> "ChromaToken":
        from sekha_llm_bridge.embeddings.chroma_token import ChromaToken  # most functions start faster without it

        return ChromaToken(
            settings.chroma.auth_token,
            lambda: refresh_chroma(settings, secrets=secrets).auth_token,
            clock,
            is_fetched=settings.chroma_pending is None,
        )

    def images(param_of: "ParamOf | None" = None) -> "RequestImages":
        from sekha_llm_bridge.media.fetch import ImageFetcher
        from sekha_llm_bridge.media.request_images import RequestImages, chat_param

        return RequestImages(lambda: ImageFetcher(connections.tls_context), param_of=param_of or chat_param)

    @cache
    def answers() -> "Answers":
        from sekha_llm_bridge.bootstrap.answers import make_answers  # a request without the header needs none of it

        return make_answers(connections, clock, resources)

    @cache
    def spending_maker() -> "SpendingMaker":
        from sekha_llm_bridge.bootstrap.spending import SpendingMaker  # few requests have a quota

        return SpendingMaker(routing.budget, table=table, connections=connections, clock=clock, store=quota_store)

    return Bridge(
        settings=settings,
        catalog=catalog,
        providers=providers,
        breakers=breakers,
        service=ModelService(
            routing,
            catalogs,
            breakers,
            cooldowns,
            unsupported,
            executor,
            TokenCounts(providers, clock),
            ServedPrefixes(clock),
        ),
        vectors=_vectors_maker(settings, catalog, connections, clock, resources, chroma_token),
        images=images,
        answers=answers,
        resources=resources,
        connections=connections,
        clock=clock,
        catalogs=catalogs,
        spending_maker=spending_maker,
        chroma_token=chroma_token,
        prices=prices,
        model_lists=_model_lists(settings, table, list_store, connections, clock),
    )


def _model_lists(
    settings: Settings, table: str, store: "ModelListStore | None", connections: Connections, clock: Clock
) -> "ModelLists | None":
    if not _ids_with_lists([*settings.providers, *(one.config for one in settings.disabled)]):
        return None
    from sekha_llm_bridge.model_lists import MemoryModelListStore, ModelLists  # few configurations have such a provider

    if table:
        from sekha_llm_bridge.model_lists.dynamodb import DynamoModelListStore

        store = DynamoModelListStore(table, connections, clock)
    return ModelLists(store or MemoryModelListStore(clock), _ids_with_lists(settings.providers), clock)


def _ids_with_lists(providers: Iterable[ProviderConfig]) -> tuple[str, ...]:
    return tuple(config.id for config in providers if config.lists_models)


def _default_embedding(catalog: Catalog) -> list[ModelConfig]:
    """Returns the entries of the default embedding model, on which `vectors` depends."""
    return [entry.model for entry in catalog.entries(catalog.default_for(Task.EMBEDDING) or "")]


def _vectors_maker(
    settings: Settings,
    catalog: Catalog,
    connections: Connections,
    clock: Clock,
    resources: AwsResources,
    chroma_token: "Callable[[], ChromaToken]",
) -> "Callable[[], Vectors]":
    @cache
    def vectors() -> "Vectors":
        from sekha_llm_bridge.bootstrap.vectors import make_vectors  # most functions start faster without it

        return make_vectors(settings, catalog, connections, clock, resources, chroma_token())

    return vectors


def _table_store(table: str, connections: Connections, clock: Clock) -> ProviderStore:
    from sekha_llm_bridge.resilience.dynamodb import DynamoProviderStore  # a function without a table starts faster

    return DynamoProviderStore(table, connections, clock)
