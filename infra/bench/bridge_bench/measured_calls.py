"""The calls that are compared: two HTTP clients that call the provider directly, and the whole handler."""

import asyncio
import http.client

from bridge_bench.endpoints import Endpoint
from bridge_bench.lambda_function import Handler, api_gateway_event, invoke
from bridge_bench.measuring import Call

BASELINE, CLIENT, HANDLER = "http.client, bare", "the bridge's HTTP client, bare", "the whole handler"
_HEADERS = {"authorization": "Bearer not-a-key", "content-type": "application/json"}


def bare_call(endpoint: Endpoint, port: int) -> Call:
    """Returns the baseline: `http.client` sends prepared bytes over a persistent connection, and reads bytes."""
    connection, content = http.client.HTTPConnection("127.0.0.1", port), endpoint.provider_text.encode()

    def call() -> bytes:
        connection.request("POST", endpoint.provider_path, content, _HEADERS)
        return connection.getresponse().read()

    return call


def http_client_call(endpoint: Endpoint, port: int) -> Call:
    """Returns the same call with the bridge's HTTP client, on the handler's event loop. It encodes and parses JSON."""
    from sekha_llm_bridge.clock import SystemClock
    from sekha_llm_bridge.providers.http import JsonHttp

    client, loop = JsonHttp(SystemClock()), asyncio.get_event_loop()
    url = f"http://127.0.0.1:{port}{endpoint.provider_path}"

    def call() -> object:
        return loop.run_until_complete(
            client.post(url, payload=endpoint.sent_to_provider, headers=_HEADERS, timeout_s=30)
        )

    return call


def handler_call(endpoint: Endpoint, handler: Handler) -> Call:
    """Returns one invocation of the handler, from the parsed event to the response that the runtime would send."""
    event = api_gateway_event(endpoint)
    return lambda: invoke(handler, event)
