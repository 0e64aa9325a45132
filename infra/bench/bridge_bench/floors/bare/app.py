"""The second floor of a cold start: Python alone, which parses an event and can send a request."""

import http.client
import json
from typing import Any

_CONNECTION = http.client.HTTPSConnection


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answers at once."""
    return {"statusCode": 200, "body": json.dumps({"path": event["path"]})}
