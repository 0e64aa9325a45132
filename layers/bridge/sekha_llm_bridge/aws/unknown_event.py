"""Events that a function does not take: what each seems to be, and the warning in the log.

A function is invoked by whoever may invoke it: a schedule that keeps it warm, a test event of Lambda's console, a queue
or a bucket that is connected to the wrong function. Such an event may have prompts and secrets as values, and even as
keys; so it is described by known keys alone.
"""

from collections.abc import Mapping
from typing import Any

# The first shape whose keys an event has is its kind.
_SHAPES: tuple[tuple[frozenset[str], str], ...] = tuple(
    (frozenset(keys.split()), kind)
    for keys, kind in (
        ("detail-type source", "an event of EventBridge"),
        ("awslogs", "a batch of CloudWatch Logs"),
        ("methodArn type", "a request to an authorizer of a REST API"),
        ("routeArn type", "a request to an authorizer of an HTTP API"),
        ("requestContext responsePayload", "the result of an asynchronous invocation"),
        ("InvokeComplete", "the completion notice of a response stream"),
        ("PayloadChunk", "a part of a response stream"),
        ("requestContext connectionId", "an event of a WebSocket API"),
        ("requestContext elb", "an incomplete request of a load balancer"),
        ("requestContext resource", "an incomplete request of a REST API"),
        ("requestContext version", "an incomplete request of an HTTP API, a function URL or VPC Lattice"),
        ("requestContext", "an event with a request context that is no HTTP request"),
        ("raw_path query_string_parameters", "a request of VPC Lattice"),
        ("RequestType ResponseURL", "a request of a custom resource of CloudFormation"),
        ("DeploymentId LifecycleEventHookExecutionId", "a hook of CodeDeploy"),
        ("SecretId Step", "a rotation of Secrets Manager"),
        ("triggerSource userPoolId", "a trigger of Cognito"),
        ("deliveryStreamArn records", "records of Firehose"),
        ("eventSource bootstrapServers", "records of Kafka"),
        ("rmqMessagesByQueue", "messages of RabbitMQ"),
        ("eventSource messages", "messages of ActiveMQ"),
        ("info arguments", "a request of AppSync"),
        ("messageVersion agent", "a call of an agent of Bedrock"),
        ("sessionState bot", "a turn of a conversation of Lex"),
        ("invokingEvent", "an event of AWS Config"),
        ("CodePipeline.job", "a job of CodePipeline"),
        ("key1 key2 key3", "the test event of Lambda's console"),
        ("warmer", "a call that keeps the function warm"),
        ("source", "an event with a source, such as a call that keeps the function warm"),
    )
)
# The key of a record that says which service has sent `Records`.
_RECORDS = {
    "receiptHandle": "messages of SQS",
    "Sns": "notifications of SNS",
    "s3": "notifications of S3",
    "dynamodb": "records of a DynamoDB stream",
    "kinesis": "records of Kinesis",
    "ses": "mails of SES",
    "cf": "an event of CloudFront (Lambda@Edge)",
}
_KNOWN_KEYS = frozenset({"Records"}.union(*(keys for keys, _ in _SHAPES)))
# Keys of a request context that tell two kinds of events apart.
_CONTEXT_KEYS = frozenset({"connectionId", "elb"})


def event_kind(event: object) -> str:
    """Returns what an event seems to be, by its type and its keys alone."""
    if event is None:
        return "null"
    if not isinstance(event, Mapping):
        names: Mapping[type, str] = {list: "a list", str: "a text", bytes: "bytes"}
        return names.get(type(event), "a number or a boolean")
    if not event:
        return "an empty event"
    if "Records" in event:
        return _kind_of_records(event["Records"])
    keys = event.keys() | _context_keys(event)
    return next((kind for needed, kind in _SHAPES if needed <= keys), "an event with unknown keys")


def warn_of_unknown_event(event: object, context: object) -> None:
    """Writes one warning: what kind of event was not taken, its known keys, and how many others it has."""
    from sekha_llm_bridge.observability import logger  # not needed by most requests

    keys = set(event) if isinstance(event, Mapping) else set()
    fields: dict[str, Any] = {
        "kind": event_kind(event),
        "keys": sorted(keys & _KNOWN_KEYS),
        "other_keys": len(keys - _KNOWN_KEYS),
        "function_request_id": getattr(context, "aws_request_id", None),
    }
    logger().warning("unknown event", extra=fields)


def _context_keys(event: Mapping[str, Any]) -> frozenset[str]:
    context = event.get("requestContext")
    return _CONTEXT_KEYS & context.keys() if isinstance(context, Mapping) else frozenset()


def _kind_of_records(records: object) -> str:
    first = records[0] if isinstance(records, list) and records else None
    if isinstance(first, Mapping):
        for key, kind in _RECORDS.items():
            if key in first:
                return kind
    return "records of an unknown service"
