"""Texts of many kinds for token counts. They are written for this purpose, or generated reproducibly."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEXTS = Path(__file__).with_name("texts")
_KIB = 1024


def corpus() -> dict[str, str]:
    """Returns a text of 0.5 to 4 KB for each kind."""
    written = {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEXTS.glob("*.txt"))}
    return written | {
        "json": json.dumps(records(20), separators=(",", ":")),
        "json, indented": json.dumps(records(12), indent=2),
        "json, escaped": json.dumps(written["chinese"] + written["emoji"]),
        "tool definitions": json.dumps(tools(4)),
        "csv": "\n".join(_csv_lines(40)),
        "numbers": " ".join(str(int.from_bytes(_noise(8, str(index)))) for index in range(60)),
        "base64": base64.b64encode(_noise(_KIB)).decode(),
        "hex": _noise(_KIB).hex(),
        "white space": ("\t" * 40 + " " * 200 + "\n" * 30 + "end of column\r\n") * 6,
        "rules and boxes": ("=" * 72 + "\n" + "─" * 60 + "\n" + "| - + " * 12 + "\n") * 5,
        "one long word": "pneumonoultramicroscopicsilicovolcanoconiosis" * 30,
        "private use and control": "".join(map(chr, (*range(0xE000, 0xE100), *range(1, 32), *range(0x7F, 0xA0)))),
        "combining marks": "".join(f"{letter}\u0301\u0323\u035c" for letter in written["english"][:400]),
        "special tokens": "<|endoftext|><|im_start|>system\nHello<|im_end|> <|fim_prefix|>" * 20,
    }


def records(count: int) -> list[dict[str, Any]]:
    """Returns JSON objects as a typical API returns them."""
    return [
        {
            "id": 48_200 + 7 * index,
            "customerName": ("Ada Obi", "Jörg Weiß", "佐藤 花子", "Lucía Gómez")[index % 4],
            "email": f"customer{index}@example.org",
            "total": round(19.99 + 3.35 * index, 2),
            "tags": ["new", "priority", "gift"][: index % 4],
            "createdAt": f"2026-{index % 12 + 1:02}-{index % 28 + 1:02}T08:{index % 60:02}:17.250Z",
            "shipped": index % 3 == 0,
            "note": None,
        }
        for index in range(count)
    ]


def tools(count: int) -> list[dict[str, Any]]:
    """Returns tool definitions, as in a chat request."""
    properties = {
        "location": {"type": "string", "description": "City and country, for example Lisbon, Portugal"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14, "description": "How many days ahead"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
    }
    parameters = {"type": "object", "properties": properties, "required": ["location"], "additionalProperties": False}
    return [
        {
            "type": "function",
            "function": {
                "name": f"get_weather_forecast_{index}",
                "description": "Looks up the forecast of a place. Call it before you say anything about the weather.",
                "parameters": parameters,
                "strict": True,
            },
        }
        for index in range(count)
    ]


def _csv_lines(count: int) -> Iterator[str]:
    yield "date,station,temperature_c,wind_kmh,note"
    for index in range(count):
        yield f'2026-03-{index % 28 + 1:02},ST-{index * 37:05},{index * 0.731 - 4:.2f},{index * 13 % 90},"ok, dry"'


def _noise(size: int, seed: str = "") -> bytes:
    return hashlib.shake_256(f"noise{seed}".encode()).digest(size)
