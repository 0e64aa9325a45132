"""The usage in the table of a bridge, as its operator sees it."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sekha_llm_bridge import UsageReport
from sekha_llm_bridge.access.usage_records.store import UsageRecord, record_of
from sekha_llm_bridge.access.usage_records.sums import GroupBy, UsagePeriod, document_of
from sekha_llm_bridge.aws.state_table import usage_pk
from sekha_llm_bridge.cli.deployment import Deployment, TableFailed, aws_errors, find_deployment
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.cli.keys.table import KeyTable
from sekha_llm_bridge.client.usage import report_of


def read_table(stack: str | None, period: UsagePeriod, by: GroupBy) -> UsageReport:
    """Returns the usage of all keys, of the deployed bridge with this stack or of the running local one.

    Raises `NoDeployment` and `TableFailed`.
    """
    deployment = find_deployment(stack)
    sys.stderr.write(printable(f"using {deployment.name}") + "\n")
    document = document_of(list(_records(deployment, period)), period, by)
    if by is GroupBy.KEY:
        _add_names(document["data"], deployment)
    return report_of(document)


def _add_names(rows: Any, deployment: Deployment) -> None:
    """Adds the name of each key to its row. Who may not read the table of keys gets no names."""
    names: dict[str, str] = {}
    with suppress(TableFailed):
        names = {str(item["id"]["S"]): str(item.get("name", {}).get("S", "")) for item in KeyTable(deployment).items()}
    for row in rows:
        row["name"] = names.get(row["key"]) or None


def _records(deployment: Deployment, period: UsagePeriod) -> Iterator[UsageRecord]:
    """Yields the records. Sends a Query for each day."""
    pages = deployment.dynamodb.get_paginator("query")
    for number in range((period.last - period.first).days + 1):
        day = (period.first + timedelta(days=number)).isoformat()
        wanted: Any = {
            "TableName": deployment.state_table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": usage_pk(day)}},
        }
        with aws_errors(deployment.name):
            for page in pages.paginate(**wanted):
                yield from (record_of(item) for item in page["Items"])
