"""The usage in the table of a bridge, as its operator sees it."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sekha_llm_bridge import UsageReport
from sekha_llm_bridge.access.usage_records.store import UsageRecord, record_of
from sekha_llm_bridge.access.usage_records.sums import GroupBy, UsagePeriod, document_of
from sekha_llm_bridge.aws.state_table import usage_pk
from sekha_llm_bridge.cli.deployment import Deployment, aws_errors, find_deployment
from sekha_llm_bridge.cli.health.printable import printable
from sekha_llm_bridge.client.usage import report_of


def read_table(stack: str | None, period: UsagePeriod, by: GroupBy) -> UsageReport:
    """Returns the usage of all keys, of the deployed bridge with this stack or of the running local one.

    Raises `NoDeployment` and `TableFailed`.
    """
    deployment = find_deployment(stack)
    sys.stderr.write(printable(f"using {deployment.name}") + "\n")
    return report_of(document_of(list(_records(deployment, period)), period, by))


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
