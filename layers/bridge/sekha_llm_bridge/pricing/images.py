"""Tokens that an image is billed as, from what the vendors publish; its size is not known beforehand.

The likely number is that of 1024 by 1024 pixels; the bound holds for any size and any `detail`.
"""

from dataclasses import dataclass

_PIXELS = 1024  # of each side of a likely image


@dataclass(frozen=True, slots=True)
class _Family:
    """The models with this name, alone or followed by a hyphen, and the (likely, bound) tokens of an image."""

    name: str
    tokens: tuple[int, int]


def _tiles(base: int, tile: int) -> tuple[int, int]:
    """Scaled to at most 2048 by 768 pixels, an image is covered by tiles of 512; a likely one, scaled, by four."""
    return base + 4 * tile, base + 8 * tile


def _patches(most: int, percent: int) -> tuple[int, int]:
    """Covered by patches of 32 by 32 pixels, at most so many, times the model's factor; a token more by rounding."""
    likely = (_PIXELS // 32) ** 2
    return likely * percent // 100 + 1, most * percent // 100 + 1


# OpenAI: developers.openai.com/api/docs/guides/images-vision, sections on sizing and on costs, as of autumn 2026. Where
# bills were reported that are above what it says (gpt-5.4-mini and -nano), the higher number stands.
_FAMILIES = (
    _Family("gpt-4o-mini", _tiles(2_833, 5_667)),
    _Family("gpt-4o", _tiles(85, 170)),
    _Family("chatgpt-4o", _tiles(85, 170)),
    _Family("gpt-4.1-mini", _patches(1_536, 162)),
    _Family("gpt-4.1-nano", _patches(1_536, 246)),
    _Family("gpt-4.1", _tiles(85, 170)),
    _Family("gpt-4.5", _tiles(85, 170)),
    _Family("o1", _tiles(75, 150)),
    _Family("o3", _tiles(75, 150)),
    _Family("o4-mini", _patches(1_536, 172)),
    _Family("gpt-5-mini", _patches(1_536, 162)),
    _Family("gpt-5-nano", _patches(1_536, 246)),
    _Family("gpt-5-chat", _tiles(70, 140)),
    # Dates and the names that are not listed share the max_rates of the family.
    _Family("gpt-5", (_tiles(70, 140)[0], _patches(1_536, 246)[1])),
    _Family("gpt-5.4-mini", _patches(2_500, 246)),
    _Family("gpt-5.4-nano", _patches(2_500, 246)),
    _Family("gpt-5.4", _patches(10_000, 120)),
    _Family("gpt-5.5", _patches(10_000, 120)),
    _Family("gpt-5.6", _patches(30_000, 120)),  # not scaled down; refused above that
    _Family("gpt-6", _patches(30_000, 120)),
)
# Anthropic: platform.claude.com/docs/en/build-with-claude/vision: patches of 28 by 28 pixels, 1,568 of them at most, on
# newer models 4,784.
_CLAUDE = (1_400, 5_000)
# Google: ai.google.dev/gemini-api/docs/media-resolution: 1,120 unless asked otherwise, 2,240 at most, both about. For
# earlier models no number of tiles is given that is not exceeded.
_GEMINI_3 = (1_120, 2_500)
# Not below the max_rates of the models above, which may be used by another name, nor 16,384, which others scale down
# to.
_UNKNOWN = (1_000, 50_000)


def image_tokens(model_id: str) -> tuple[int, int]:
    """(likely, bound) tokens that one image is billed as, by the model's name with or without its vendor's."""
    name = model_id.lower().rpartition("/")[2]
    if "claude" in name:
        return _CLAUDE
    if name.startswith("gemini-3"):
        return _GEMINI_3
    return next((family.tokens for family in _FAMILIES if f"{name}-".startswith(f"{family.name}-")), _UNKNOWN)
