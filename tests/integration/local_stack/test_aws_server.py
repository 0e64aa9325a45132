"""DynamoDB and SQS of the local stack, as the functions reach them."""

import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import httpx
import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from local_stack.testing import RunningStack

pytestmark = pytest.mark.stack

TABLE = "sekha-local-Table"


@pytest.fixture(scope="module")
def endpoint(stack: RunningStack) -> str:
    """The address of the local AWS services, as a function gets it."""
    seen = httpx.post(f"{stack.base_url}/act", json={"do": "environment"}, trust_env=False).json()
    return str(seen["AWS_ENDPOINT_URL_DYNAMODB"])


@pytest.fixture(scope="module")
def dynamodb(endpoint: str) -> DynamoDBClient:
    """A client of the local DynamoDB."""
    return boto3.Session("a", "b", region_name="us-east-1").client("dynamodb", endpoint_url=endpoint)


def test_the_templates_table_is_created_with_its_time_to_live(dynamodb: DynamoDBClient) -> None:
    table = dynamodb.describe_table(TableName=TABLE)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    lifetime = dynamodb.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
    assert (lifetime["TimeToLiveStatus"], lifetime["AttributeName"]) == ("ENABLED", "expires")


def test_the_templates_queues_are_created_with_their_redrive_policy(endpoint: str) -> None:
    sqs = boto3.Session("a", "b", region_name="us-east-1").client("sqs", endpoint_url=endpoint)
    url = sqs.get_queue_url(QueueName="sekha-local-Jobs")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
    assert "sekha-local-Dead" in attributes["RedrivePolicy"]


def test_one_of_fifty_concurrent_conditional_writes_succeeds(dynamodb: DynamoDBClient) -> None:
    """moto alone lets two through now and then; hence five rounds."""

    def won(round_and_writer: tuple[int, int]) -> bool:
        number, writer = round_and_writer
        item = {"id": {"S": f"race-{number}"}, "writer": {"N": str(writer)}}
        try:
            dynamodb.put_item(TableName=TABLE, Item=item, ConditionExpression="attribute_not_exists(id)")
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        for number in range(5):
            assert sum(pool.map(won, [(number, writer) for writer in range(50)])) == 1


def test_an_answer_is_not_delayed_by_nagles_algorithm(dynamodb: DynamoDBClient) -> None:
    """Nagle's algorithm against delayed acknowledgements would cost 40 ms for each."""
    began = time.monotonic()
    for _ in range(20):
        dynamodb.get_item(TableName=TABLE, Key={"id": {"S": "nothing"}})
    assert time.monotonic() - began < 20 * 0.04
