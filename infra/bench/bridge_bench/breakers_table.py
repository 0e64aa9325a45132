"""A companion that plays DynamoDB, with one table for the breakers, and notes what is asked of it.

Out: its address and the table's name. In: anything, answered with every worker's exchanges, as they took effect.
"""

from dataclasses import astuple

from bridge_bench.breakers_findings import CLOSED, Exchange
from bridge_bench.breakers_process import orders, say
from bridge_bench.breakers_race import FIRST, WORKER
from sekha_llm_bridge.aws.state_table import provider_key
from tests.fakes.dynamodb import Asked, DynamoDb


def main() -> None:
    """See the module's docstring."""
    with DynamoDb() as dynamodb:
        say([dynamodb.url, dynamodb.new_table()])
        for _ in orders():
            say([astuple(_exchange(asked)) for asked in dynamodb.asked if asked.caller.startswith(WORKER)])


def _exchange(asked: Asked) -> Exchange:
    is_read = asked.action == "BatchGetItem"
    answer = {} if is_read else asked.answer
    item = answer.get("Attributes") or answer.get("Item") or {}
    if not is_read and asked.request["Key"] != provider_key(FIRST).attributes:
        raise SystemExit("something was written about the provider that always answers")
    values = asked.request.get("ExpressionAttributeValues", {})
    return Exchange(
        at_s=asked.at_s,
        worker=int(asked.caller.removeprefix(WORKER)),
        kind="read" if is_read else "add" if "ADD" in asked.request["UpdateExpression"] else "change",
        done=asked.status == 200,
        epoch_asked=int(values.get(":old_epoch", {"N": 0})["N"]),
        state=item.get("state", {"S": CLOSED})["S"],
        epoch=int(item.get("epoch", {"N": 0})["N"]),
        failures=int(item.get("failure_count", {"N": 0})["N"]),
        token=item.get("lease_token", {"S": ""})["S"],
    )


if __name__ == "__main__":
    main()
