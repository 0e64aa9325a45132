"""A child process that acts as DynamoDB with one state table, and records the requests.

Output: its address and the name of the table. Input: any line, answered with the exchanges of all workers, in order.
"""

from dataclasses import astuple

from bridge_bench.breakers_findings import CLOSED, Exchange
from bridge_bench.breakers_process import commands, send_to_parent
from bridge_bench.breakers_race import FIRST, WORKER
from sekha_llm_bridge.aws.state_table import provider_key
from tests.fakes.dynamodb import DynamoDb, RecordedRequest


def main() -> None:
    """See the module's docstring."""
    with DynamoDb() as dynamodb:
        send_to_parent([dynamodb.url, dynamodb.new_table()])
        for _ in commands():
            send_to_parent(
                [astuple(_exchange(request)) for request in dynamodb.requests if request.caller.startswith(WORKER)]
            )


def _exchange(request: RecordedRequest) -> Exchange:
    is_read = request.action == "BatchGetItem"
    answer = {} if is_read else request.answer
    item = answer.get("Attributes") or answer.get("Item") or {}
    if not is_read and request.request["Key"] != provider_key(FIRST).attributes:
        raise SystemExit("something was written about the provider that always answers")
    values = request.request.get("ExpressionAttributeValues", {})
    return Exchange(
        at_s=request.at_s,
        worker=int(request.caller.removeprefix(WORKER)),
        kind="read" if is_read else "add" if "ADD" in request.request["UpdateExpression"] else "change",
        done=request.status == 200,
        expected_epoch=int(values.get(":old_epoch", {"N": 0})["N"]),
        state=item.get("state", {"S": CLOSED})["S"],
        epoch=int(item.get("epoch", {"N": 0})["N"]),
        failures=int(item.get("failure_count", {"N": 0})["N"]),
        token=item.get("lease_token", {"S": ""})["S"],
    )


if __name__ == "__main__":
    main()
