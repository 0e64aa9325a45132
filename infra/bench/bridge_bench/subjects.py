"""The calls that are compared: the provider called bare, by two clients, and through the whole handler."""

import asyncio
import http.client

from bridge_bench.endpoints import Endpoint
from bridge_bench.lambda_function import Handler, api_gateway_event, invoke
from bridge_bench.measuring import Call

FLOOR, CLIENT, HANDLER = "http.client, bare", "the bridge's HTTP client, bare", "the whole handler"
_HEADERS = {"authorization": "Bearer not-a-key", "content-type": "application/json"}


def bare_call(endpoint: Endpoint, port: int) -> Call:
    """The floor: the standard library sends bytes that are ready, over a connection that is kept, and reads bytes."""
    connection, content = http.client.HTTPConnection("127.0.0.1", port), endpoint.text.encode()

    def call() -> bytes:
        connection.request("POST", endpoint.provider_path, content, _HEADERS)
        return connection.getresponse().read()

    return call


def clients_call(endpoint: Endpoint, port: int) -> Call:
    """The same by the bridge's own HTTP client, on the loop that the handler runs on: JSON out, JSON in."""
    from sekha_llm_bridge.clock import SystemClock
    from sekha_llm_bridge.providers.http import JsonHttp

    client, loop = JsonHttp(SystemClock()), asyncio.get_event_loop()
    url = f"http://127.0.0.1:{port}{endpoint.provider_path}"

    def call() -> object:
        return loop.run_until_complete(client.post(url, payload=endpoint.body, headers=_HEADERS, timeout_s=30))

    return call


def handlers_call(endpoint: Endpoint, handler: Handler) -> Call:
    """One invocation, from the parsed event to the answer that the runtime writes out."""
    event = api_gateway_event(endpoint)
    return lambda: invoke(handler, event)
