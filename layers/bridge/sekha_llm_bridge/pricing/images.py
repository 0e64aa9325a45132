"""The tokens for which an image is billed, by what the vendors publish; its size is not known in advance.

The estimate is for 1024 by 1024 pixels. The upper bound holds for any size and any `detail`.
"""

from dataclasses import dataclass

_PIXELS = 1024  # width and height of the image that is estimated


@dataclass(frozen=True, slots=True)
class _Family:
    """The models with this name, alone or followed by a hyphen; `tokens` are (estimate, upper bound) for one image."""

    name: str
    tokens: tuple[int, int]


def _tiles(base: int, tile: int) -> tuple[int, int]:
    """Returns the tokens of tiled images: scaled to at most 2048 by 768 pixels, 8 tiles of 512 pixels at most."""
    return base + 4 * tile, base + 8 * tile


def _patches(max_patches: int, percent: int) -> tuple[int, int]:
    """Returns the tokens of images in patches of 32 by 32 pixels, times the model's factor, plus one for rounding."""
    estimated_patches = (_PIXELS // 32) ** 2
    return estimated_patches * percent // 100 + 1, max_patches * percent // 100 + 1


# OpenAI: developers.openai.com/api/docs/guides/images-vision, sections on sizing and on costs, as of autumn 2026. Where
# higher bills were reported than documented (gpt-5.4-mini and -nano), the higher number stands.
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
    # Dated names, and names that are not listed, have the highest upper bound of the family.
    _Family("gpt-5", (_tiles(70, 140)[0], _patches(1_536, 246)[1])),
    _Family("gpt-5.4-mini", _patches(2_500, 246)),
    _Family("gpt-5.4-nano", _patches(2_500, 246)),
    _Family("gpt-5.4", _patches(10_000, 120)),
    _Family("gpt-5.5", _patches(10_000, 120)),
    _Family("gpt-5.6", _patches(30_000, 120)),  # not scaled down; larger images are refused
    _Family("gpt-6", _patches(30_000, 120)),
)
# Anthropic: platform.claude.com/docs/en/build-with-claude/vision: patches of 28 by 28 pixels, 1,568 of them at most, on
# newer models 4,784.
_CLAUDE = (1_400, 5_000)
# Google: ai.google.dev/gemini-api/docs/media-resolution: about 1,120 by default, about 2,240 at most. For earlier
# models no maximum number of tiles is documented.
_GEMINI_3 = (1_120, 2_500)
# Not below the highest values of the models above, which may have other names, nor 16,384, to which others scale
# down.
_UNKNOWN = (1_000, 50_000)


def image_tokens(model_id: str) -> tuple[int, int]:
    """Returns (estimate, upper bound) of the tokens of one image, by the model's name with or without its vendor."""
    name = model_id.lower().rpartition("/")[2]
    if "claude" in name:
        return _CLAUDE
    if name.startswith("gemini-3"):
        return _GEMINI_3
    return next((family.tokens for family in _FAMILIES if f"{name}-".startswith(f"{family.name}-")), _UNKNOWN)
