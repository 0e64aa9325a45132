"""Reads a SAM template into the dataclasses of `template`: routes, environment, memory, timeouts, schedules, tables and
queues."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from local_stack import log_pattern
from local_stack.authorizer_reader import authorizer_of, read_authorizers
from local_stack.cloudformation import Node, Resolver, TemplateError, as_text, load
from local_stack.template import (
    ACCOUNT_ID,
    Api,
    Cors,
    Function,
    GatewayResponse,
    LogSubscription,
    Queue,
    Route,
    Schedule,
    Table,
    Template,
    Variable,
)

STACK_NAME = "sekha-local"
DEFAULT_REGION = "us-east-1"

_API = "AWS::Serverless::Api"
_FUNCTION = "AWS::Serverless::Function"
_LAYER = "AWS::Serverless::LayerVersion"
_TABLE = "AWS::DynamoDB::Table"
_SIMPLE_TABLE = "AWS::Serverless::SimpleTable"
_QUEUE = "AWS::SQS::Queue"
_MAPPING = "AWS::ApiGateway::BasePathMapping"

# The properties of a table that CreateTable takes under the same name. Other properties (backups, encryption, tags)
# have no effect locally.
_TABLE_FIELDS = (
    "AttributeDefinitions",
    "KeySchema",
    "BillingMode",
    "ProvisionedThroughput",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
)
_QUEUE_ATTRIBUTES = {
    "VisibilityTimeout": "VisibilityTimeout",
    "MessageRetentionPeriod": "MessageRetentionPeriod",
    "DelaySeconds": "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "MaximumMessageSize": "MaximumMessageSize",
    "FifoQueue": "FifoQueue",
    "ContentBasedDeduplication": "ContentBasedDeduplication",
}
# Resource type → the property with its physical name.
_NAME_PROPERTIES = {_TABLE: "TableName", _SIMPLE_TABLE: "TableName", _FUNCTION: "FunctionName"}
# API Gateway's limits for an integration timeout. The limit of a buffered one is also the default.
_MIN_TIMEOUT_MS = 50
_BUFFERED_TIMEOUT_MS = 29_000
_STREAMED_TIMEOUT_MS = 900_000
# SAM merges these properties of Globals with those of a resource. A resource's value replaces any other property.
_MERGED_PROPERTIES = ("Environment", "Layers")


def read_template(path: Path, *, region: str = DEFAULT_REGION, parameters: Mapping[str, str] | None = None) -> Template:
    """Reads the template at `path`. Its folders are relative to its own folder. Raises TemplateError."""
    document = load(path)
    reader = _Reader(path, document, region, parameters or {})
    return reader.template()


class _Reader:
    """Reads one document."""

    def __init__(self, path: Path, document: dict[str, Node], region: str, parameters: Mapping[str, str]) -> None:
        self._path = path
        self._document = document
        self._region = region
        pseudo = _pseudo(region)
        # Physical names may depend on parameters but not on other resources, so they are resolved first.
        naming = Resolver(document, attributes={}, pseudo=pseudo, parameters=parameters)
        self._resolver = Resolver(
            document,
            attributes=_attributes_of_all(document["Resources"], naming, region),
            pseudo=pseudo,
            parameters=parameters,
        )

    def template(self) -> Template:
        return Template(
            path=self._path,
            region=self._region,
            api=self._api(),
            functions=[self._function(key, self._properties(key, "Function")) for key in self._of_type(_FUNCTION)],
            tables=[self._table(key) for key in self._of_type(_TABLE)]
            + [self._simple_table(key) for key in self._of_type(_SIMPLE_TABLE)],
            queues=[self._queue(key) for key in self._of_type(_QUEUE)],
        )

    def _of_type(self, wanted: str) -> Iterator[str]:
        """Yields the logical ids of resources of that type whose condition is true."""
        for logical_id, resource in self._document["Resources"].items():
            if not isinstance(resource, dict) or "Type" not in resource:
                raise TemplateError(f"{logical_id}: a resource needs a Type")
            if resource["Type"] != wanted:
                continue
            if "Condition" not in resource or self._resolver.condition(resource["Condition"], logical_id):
                yield logical_id

    def _properties(self, logical_id: str, kind: str) -> "_Properties":
        own = self._document["Resources"][logical_id].get("Properties") or {}
        shared = (self._document.get("Globals") or {}).get(kind) or {}
        return _Properties(logical_id, _merged(shared, own), self._resolver)

    # --- functions

    def _function(self, logical_id: str, properties: "_Properties") -> Function:
        if properties.text("PackageType", "Zip") != "Zip":
            raise properties.error("PackageType", "only Zip is supported by the local stack")
        events = properties.mapping("Events")
        return Function(
            logical_id=logical_id,
            name=properties.text("FunctionName", _name_of(logical_id)),
            code=self._folder(properties, "CodeUri"),
            handler=properties.text("Handler"),
            memory_mb=properties.integer("MemorySize", 128),
            timeout_s=properties.integer("Timeout", 3),
            environment=self._environment(properties),
            routes=list(self._routes(logical_id, events)),
            schedules=list(self._schedules(logical_id, events)),
            log_subscriptions=list(self._log_subscriptions(logical_id, events)),
            layers=list(self._layers(properties)),
            reserved_concurrency=properties.integer("ReservedConcurrentExecutions", -1)
            if properties.has("ReservedConcurrentExecutions")
            else None,
        )

    def _environment(self, properties: "_Properties") -> dict[str, Variable]:
        raw = (properties.raw("Environment") or {}).get("Variables") or {}
        resolved = properties.mapping("Environment").get("Variables") or {}
        return {
            name: Variable(as_text(value), from_parameter=self._resolver.names_parameter(raw[name]))
            for name, value in resolved.items()
        }

    def _folder(self, properties: "_Properties", key: str) -> Path:
        folder = self._path.parent / properties.text(key)
        if not folder.is_dir():
            raise properties.error(key, f"there is no folder {folder}")
        return folder.resolve()

    def _layers(self, properties: "_Properties") -> Iterator[Path]:
        for index, node in enumerate(properties.raw("Layers") or []):
            if not isinstance(node, dict) or "Ref" not in node:
                continue  # a layer given by its ARN: its packages are already installed in the functions' environment
            resource = self._document["Resources"].get(node["Ref"]) or {}
            if resource.get("Type") != _LAYER:
                raise properties.error(f"Layers[{index}]", f"{node['Ref']} is not a {_LAYER} of this template")
            yield self._folder(self._properties(node["Ref"], "LayerVersion"), "ContentUri")

    # --- events

    def _routes(self, logical_id: str, events: dict[str, Node]) -> Iterator[Route]:
        for name, event in events.items():
            kind = event.get("Type")
            if kind not in {"Api", "Schedule", "ScheduleV2", "CloudWatchLogs"}:
                raise TemplateError(
                    f"{logical_id}.Events.{name}.Type: the local stack does not know events of type {kind}"
                )
            if kind == "Api":
                properties = _Properties(f"{logical_id}.Events.{name}", event.get("Properties") or {}, self._resolver)
                streamed = _streamed(properties)
                yield Route(
                    path=properties.text("Path"),
                    method=properties.text("Method").upper(),
                    function=logical_id,
                    timeout_s=_integration_timeout_ms(properties, streamed=streamed) / 1000,
                    streamed=streamed,
                    authorizer=authorizer_of(properties.logical_id, properties.mapping("Auth"), self._api_auth()),
                )

    def _schedules(self, logical_id: str, events: dict[str, Node]) -> Iterator[Schedule]:
        for name, event in events.items():
            kind = event.get("Type")
            if kind not in {"Schedule", "ScheduleV2"}:
                continue
            key = "Schedule" if kind == "Schedule" else "ScheduleExpression"
            properties = _Properties(f"{logical_id}.Events.{name}", event.get("Properties") or {}, self._resolver)
            if properties.text("State", "ENABLED") != "ENABLED" or properties.text("Enabled", "true") == "false":
                continue
            event = properties.value("Input")
            yield Schedule(
                name=properties.text("Name", f"{STACK_NAME}-{logical_id}-{name}"),
                function=logical_id,
                expression=properties.text(key),
                kind="rule" if kind == "Schedule" else "scheduler",
                input_json=event if event is None or isinstance(event, str) else json.dumps(event),
            )

    def _log_subscriptions(self, logical_id: str, events: dict[str, Node]) -> Iterator[LogSubscription]:
        """Yields the subscriptions to logs. All functions write to one log group, so its name is not read."""
        for name, event in events.items():
            if event.get("Type") == "CloudWatchLogs":
                properties = _Properties(f"{logical_id}.Events.{name}", event.get("Properties") or {}, self._resolver)
                try:
                    pattern = log_pattern.parse(properties.text("FilterPattern", ""))
                except log_pattern.LogPatternError as fault:
                    raise properties.error("FilterPattern", str(fault)) from fault
                yield LogSubscription(f"{logical_id}-{name}", logical_id, pattern)

    # --- API

    def _api(self) -> Api:
        apis = list(self._of_type(_API))
        if len(apis) > 1:
            raise TemplateError(f"{apis[1]}: the local stack serves one {_API}; the template has {len(apis)}")
        if not apis:
            return Api()
        properties = self._properties(apis[0], "Api")
        names = {
            self._properties(one, "Function").text("FunctionName", _name_of(one)): one
            for one in self._of_type(_FUNCTION)
        }
        return Api(
            stage=properties.text("StageName", "Prod"),
            region=self._region,
            authorizers=read_authorizers(f"{apis[0]}.Auth", self._api_auth(), names),
            gateway_responses={
                kind: _gateway_response(f"{apis[0]}.GatewayResponses.{kind}", node)
                for kind, node in properties.mapping("GatewayResponses").items()
            },
            binary_media_types=[str(kind).replace("~1", "/") for kind in properties.value("BinaryMediaTypes") or []],
            cors=_cors(properties.value("Cors")),
            base_path=self._base_path(),
        )

    def _base_path(self) -> str:
        """Returns the base path of the domain of the API, with a slash; empty without one."""
        mappings = [self._properties(one, "").text("BasePath", "") for one in self._of_type(_MAPPING)]
        return f"/{mappings[0]}" if mappings and mappings[0] else ""

    def _api_auth(self) -> dict[str, Node]:
        api = next(self._of_type(_API), None)
        return self._properties(api, "Api").mapping("Auth") if api else {}

    # --- tables and queues

    def _table(self, logical_id: str) -> Table:
        properties = self._properties(logical_id, "")
        definition = {key: properties.value(key) for key in _TABLE_FIELDS if properties.has(key)}
        definition["TableName"] = properties.text("TableName", _name_of(logical_id))
        if "KeySchema" not in definition:
            raise properties.error("KeySchema", "a table needs its keys")
        if properties.has("StreamSpecification"):
            definition["StreamSpecification"] = {"StreamEnabled": True, **properties.mapping("StreamSpecification")}
        ttl = properties.mapping("TimeToLiveSpecification")
        return Table(logical_id, definition, str(ttl["AttributeName"]) if ttl.get("Enabled") else None)

    def _simple_table(self, logical_id: str) -> Table:
        properties = self._properties(logical_id, "SimpleTable")
        key = properties.mapping("PrimaryKey") or {"Name": "id", "Type": "String"}
        definition = {
            "TableName": properties.text("TableName", _name_of(logical_id)),
            "AttributeDefinitions": [{"AttributeName": key["Name"], "AttributeType": key["Type"][0]}],
            "KeySchema": [{"AttributeName": key["Name"], "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
        return Table(logical_id, definition)

    def _queue(self, logical_id: str) -> Queue:
        properties = self._properties(logical_id, "")
        attributes = {
            attribute: as_text(properties.value(key))
            for key, attribute in _QUEUE_ATTRIBUTES.items()
            if properties.has(key)
        }
        if properties.has("RedrivePolicy"):
            attributes["RedrivePolicy"] = json.dumps(properties.value("RedrivePolicy"))
        return Queue(logical_id, _queue_name(properties), attributes)


class _Properties:
    """The properties of one resource or event. Each is resolved when it is read."""

    def __init__(self, logical_id: str, nodes: Mapping[str, Node], resolver: Resolver) -> None:
        self.logical_id = logical_id
        self._nodes = nodes
        self._resolver = resolver

    def error(self, key: str, message: str) -> TemplateError:
        return TemplateError(f"{self.logical_id}.{key}: {message}")

    def has(self, key: str) -> bool:
        return key in self._nodes and self.value(key) is not None

    def raw(self, key: str) -> Node:
        return self._nodes.get(key)

    def value(self, key: str) -> Node:
        """Returns the resolved property, or None when it is absent."""
        resolved = self._resolver.value({key: self._nodes.get(key)}, self.logical_id)
        return resolved.get(key)

    def mapping(self, key: str) -> dict[str, Node]:
        found = self.value(key)
        if found is not None and not isinstance(found, dict):
            raise self.error(key, f"expected a mapping, found {found!r}")
        return found or {}

    def text(self, key: str, default: str | None = None) -> str:
        found = self.value(key)
        if found is None:
            if default is None:
                raise self.error(key, "is missing")
            return default
        if isinstance(found, dict | list):
            raise self.error(key, f"expected text, found {found!r}")
        return as_text(found)

    def integer(self, key: str, default: int) -> int:
        text = self.text(key, str(default))
        try:
            return int(text)
        except ValueError as fault:
            raise self.error(key, f"expected a whole number, found {text!r}") from fault


def _merged(shared: Mapping[str, Node], own: Mapping[str, Node]) -> dict[str, Node]:
    """Merges SAM's Globals with a resource's own properties."""
    merged = {**shared, **own}
    for key in _MERGED_PROPERTIES:
        if key in shared and key in own:
            merged[key] = _merged_value(shared[key], own[key])
    return merged


def _merged_value(shared: Node, own: Node) -> Node:
    if isinstance(shared, list) and isinstance(own, list):
        return [*shared, *own]
    if isinstance(shared, dict) and isinstance(own, dict):
        return {
            key: _merged_value(shared[key], own[key]) if key in shared and key in own else {**shared, **own}[key]
            for key in {**shared, **own}
        }
    return own


def _pseudo(region: str) -> dict[str, str]:
    return {
        "AWS::AccountId": ACCOUNT_ID,
        "AWS::Partition": "aws",
        "AWS::Region": region,
        "AWS::StackId": f"arn:aws:cloudformation:{region}:{ACCOUNT_ID}:stack/{STACK_NAME}/local",
        "AWS::StackName": STACK_NAME,
        "AWS::URLSuffix": "amazonaws.com",
    }


def _attributes_of_all(resources: Mapping[str, Node], naming: Resolver, region: str) -> dict[str, dict[str, str]]:
    """Returns logical id → values of `Ref` and `Fn::GetAtt`, for the resources that the local stack creates."""
    found: dict[str, dict[str, str]] = {}
    for logical_id, resource in resources.items():
        kind = resource.get("Type") if isinstance(resource, dict) else None
        if kind == _QUEUE or kind in _NAME_PROPERTIES:
            properties = _Properties(logical_id, resource.get("Properties") or {}, naming)
            given = _NAME_PROPERTIES.get(kind)
            name = properties.text(given, _name_of(logical_id)) if given else _queue_name(properties)
            found[logical_id] = _attributes(kind, name, region)
    return found


def _name_of(logical_id: str) -> str:
    return f"{STACK_NAME}-{logical_id}"


def _queue_name(properties: _Properties) -> str:
    """Returns the queue's name. The name of a FIFO queue ends with `.fifo`."""
    ending = ".fifo" if properties.text("FifoQueue", "false") == "true" else ""
    return properties.text("QueueName", f"{_name_of(properties.logical_id)}{ending}")


def _attributes(kind: str, name: str, region: str) -> dict[str, str]:
    if kind == _QUEUE:
        url = f"https://sqs.{region}.amazonaws.com/{ACCOUNT_ID}/{name}"
        return {"Ref": url, "QueueUrl": url, "QueueName": name, "Arn": f"arn:aws:sqs:{region}:{ACCOUNT_ID}:{name}"}
    if kind == _FUNCTION:
        arn = f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}"
        return {"Ref": name, "Arn": arn, "Alias": f"{arn}:alias"}
    arn = f"arn:aws:dynamodb:{region}:{ACCOUNT_ID}:table/{name}"
    return {"Ref": name, "Arn": arn, "StreamArn": f"{arn}/stream/local"}


def _streamed(event: _Properties) -> bool:
    mode = event.text("ResponseTransferMode", "BUFFERED")
    if mode not in {"BUFFERED", "RESPONSE_STREAM"}:
        raise event.error("ResponseTransferMode", f"expected BUFFERED or RESPONSE_STREAM, found {mode}")
    return mode == "RESPONSE_STREAM"


def _integration_timeout_ms(event: _Properties, *, streamed: bool) -> int:
    max_timeout_ms = _STREAMED_TIMEOUT_MS if streamed else _BUFFERED_TIMEOUT_MS
    found = event.integer("TimeoutInMillis", _BUFFERED_TIMEOUT_MS)
    if not _MIN_TIMEOUT_MS <= found <= max_timeout_ms:
        hint = "" if streamed else f"; up to {_STREAMED_TIMEOUT_MS} with ResponseTransferMode: RESPONSE_STREAM"
        raise event.error("TimeoutInMillis", f"expected {_MIN_TIMEOUT_MS} to {max_timeout_ms}, found {found}{hint}")
    return found


def _gateway_response(where: str, node: Node) -> GatewayResponse:
    if not isinstance(node, dict):
        raise TemplateError(f"{where}: expected a mapping, found {node!r}")
    status = node.get("StatusCode")
    headers = (node.get("ResponseParameters") or {}).get("Headers") or {}
    return GatewayResponse(
        status=int(status) if status is not None else None,
        templates={str(kind): str(text) for kind, text in (node.get("ResponseTemplates") or {}).items()},
        headers={str(name): str(value) for name, value in headers.items()},
    )


def _cors(node: Node) -> Cors | None:
    if node is None:
        return None
    properties = {"AllowOrigin": node} if isinstance(node, str) else node
    names = {
        "AllowOrigin": "Access-Control-Allow-Origin",
        "AllowMethods": "Access-Control-Allow-Methods",
        "AllowHeaders": "Access-Control-Allow-Headers",
        "MaxAge": "Access-Control-Max-Age",
        "AllowCredentials": "Access-Control-Allow-Credentials",
    }
    return Cors({names[key]: as_text(value).strip("'") for key, value in properties.items() if key in names})
