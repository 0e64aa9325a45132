"""The price of a model: rates, which may depend on the length of the prompt, and costs computed from them."""

from dataclasses import dataclass
from decimal import Decimal

from sekha_llm_bridge.usage import Usage

MILLION = Decimal(1_000_000)
_MAX_PROMPT_TOKENS = 2**53

# What writing to the cache for five minutes and for an hour costs, in input tokens. Amazon Bedrock has the same.
# Source: platform.claude.com, "Prompt caching", "Pricing".
CLAUDE_WRITE_FACTOR = Decimal("1.25")
CLAUDE_HOUR_WRITE_FACTOR = 2

# Source: platform.claude.com, "Web search tool", "Usage and pricing".
CLAUDE_WEB_SEARCH_USD = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of each kind. Some providers bill tokens that they write to their cache at a higher
    rate. `hour_cache_write_usd_per_mtok` is that of tokens that are kept there for an hour; None: not known.
    """

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    cached_input_usd_per_mtok: Decimal
    cache_write_usd_per_mtok: Decimal
    hour_cache_write_usd_per_mtok: Decimal | None = None

    @property
    def hour_write_usd_per_mtok(self) -> Decimal:
        """The rate of tokens that are kept in the cache for an hour; where it is not known, as for Claude."""
        known = self.hour_cache_write_usd_per_mtok
        if known is not None:
            return known
        return max(self.cache_write_usd_per_mtok, CLAUDE_HOUR_WRITE_FACTOR * self.input_usd_per_mtok)

    def max_input_rate(self, *, is_hour_cache: bool) -> Decimal:
        """Returns the highest rate of a prompt token. `is_hour_cache`: some may be kept in the cache for an hour."""
        usual = max(self.input_usd_per_mtok, self.cached_input_usd_per_mtok, self.cache_write_usd_per_mtok)
        return max(usual, self.hour_write_usd_per_mtok) if is_hour_cache else usual


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates for all tokens of a request whose prompt has more than `above_tokens` tokens."""

    above_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model. `source` is `config`, `free`, or the snapshot's name and date.

    `tiers` are in ascending order. `request_usd` is billed for each request, whatever its size.
    """

    rates: Rates
    source: str
    tiers: tuple[Tier, ...] = ()
    request_usd: Decimal = Decimal(0)

    def cost_usd(self, usage: Usage) -> Decimal:
        """Returns what the provider bills for that usage."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
        for_an_hour = min(usage.hour_cache_write_tokens, written)
        rates = self._rates_at(usage.largest_prompt_tokens or usage.prompt_tokens)
        tokens_usd = (
            (usage.prompt_tokens - cached - written) * rates.input_usd_per_mtok
            + cached * rates.cached_input_usd_per_mtok
            + (written - for_an_hour) * rates.cache_write_usd_per_mtok
            + for_an_hour * rates.hour_write_usd_per_mtok
            + (usage.completion_tokens + usage.unlisted_tokens) * rates.output_usd_per_mtok
        )
        searches_usd = Decimal(0) if self.is_free else usage.web_searches * CLAUDE_WEB_SEARCH_USD
        return self.request_usd + searches_usd + tokens_usd / MILLION

    def max_rates(self, prompt_tokens: int, *, is_hour_cache: bool = False) -> tuple[Decimal, Decimal]:
        """Returns the highest (input, output) rates in USD per million tokens for a prompt of at most `prompt_tokens`,
        cache writes included: those for five minutes, and with `is_hour_cache` those for an hour.
        """
        reached = self._rates_up_to(prompt_tokens)
        inputs = (rates.max_input_rate(is_hour_cache=is_hour_cache) for rates in reached)
        return max(inputs), max(rates.output_usd_per_mtok for rates in reached)

    def listed_max_rates(self, prompt_tokens: int) -> tuple[Decimal, Decimal]:
        """Returns the highest listed (input, output) rates up to `prompt_tokens`, cache writes excluded."""
        reached = self._rates_up_to(prompt_tokens)
        return max(rates.input_usd_per_mtok for rates in reached), max(rates.output_usd_per_mtok for rates in reached)

    def bound_usd(self, *, prompt_tokens: int, completion_tokens: int, is_hour_cache: bool = False) -> Decimal:
        """Returns the most that is billed for at most that many tokens, whatever of them is written to a cache: for
        five minutes, and with `is_hour_cache` for an hour.
        """
        input_usd_per_mtok, output_usd_per_mtok = self.max_rates(prompt_tokens, is_hour_cache=is_hour_cache)
        tokens_usd = prompt_tokens * input_usd_per_mtok + completion_tokens * output_usd_per_mtok
        return self.request_usd + tokens_usd / MILLION

    @property
    def has_hour_cache_rate(self) -> bool:
        """Whether it is known what tokens cost that are kept in the cache for an hour."""
        return self.is_free or all(
            rates.hour_cache_write_usd_per_mtok is not None
            for rates in (self.rates, *(tier.rates for tier in self.tiers))
        )

    @property
    def is_free(self) -> bool:
        """Whether nothing is ever billed."""
        return not (self.request_usd or any(self.max_rates(_MAX_PROMPT_TOKENS, is_hour_cache=True)))

    def _rates_up_to(self, prompt_tokens: int) -> list[Rates]:
        return [self.rates, *(tier.rates for tier in self.tiers if prompt_tokens > tier.above_tokens)]

    def _rates_at(self, prompt_tokens: int) -> Rates:
        return next((tier.rates for tier in reversed(self.tiers) if prompt_tokens > tier.above_tokens), self.rates)


FREE = Price(Rates(Decimal(0), Decimal(0), Decimal(0), Decimal(0)), "free")


def usd_text(amount: Decimal) -> str:
    """Returns an amount for people: `0.0000001`, never `1E-7`."""
    return f"{amount.normalize():f}"
