"""Makes the snapshot, and its text: one line for each model, so that a change is one line."""

from collections.abc import Iterable
from datetime import date

import orjson
from genai_prices.types import ModelInfo, Provider

from price_snapshot.models import listed, unpriced
from price_snapshot.sellers import ALSO, LEFT_OUT, address, is_of_one_region
from sekha_llm_bridge.pricing.snapshot import Document, ListedModel, ListedSeller


def document(sellers: Iterable[Provider], day: date) -> Document:
    """Returns the snapshot with the prices of `day` and later. It does not depend on the current time."""
    included = (seller for seller in sellers if seller.id not in LEFT_OUT)
    return {"date": day.isoformat(), "sellers": [_seller(seller, day) for seller in included]}


def text_of(snapshot: Document) -> str:
    """Returns the text of the file."""
    sellers = ",\n".join(_seller_text(seller) for seller in snapshot["sellers"])
    return f'{{"date": {_json(snapshot["date"])}, "sellers": [\n{sellers}\n]}}\n'


def _seller(seller: Provider, day: date) -> ListedSeller:
    base = address(seller)
    listing: ListedSeller = {"id": seller.id, "models": [_model(seller, model, day) for model in seller.models]}
    if base.is_expression:
        listing["like"] = base.text
    else:
        listing["at"] = base.text
    if seller.id in ALSO:
        listing["also"] = ALSO[seller.id]
    return listing


def _model(seller: Provider, model: ModelInfo, day: date) -> ListedModel:
    if is_of_one_region(seller.id, model.id):
        return unpriced(model, "the price of one region")
    return listed(model, day)


def _seller_text(seller: ListedSeller) -> str:
    head = _json({key: value for key, value in seller.items() if key != "models"}).removesuffix("}")
    models = ",\n".join(_json(model) for model in seller["models"])
    return f'{head},"models":[\n{models}\n]}}'


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
