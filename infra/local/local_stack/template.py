"""The parts of a SAM template that the local stack uses. `template_reader` creates these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_stack.log_pattern import LogPattern

ACCOUNT_ID = "123456789012"


@dataclass(frozen=True, slots=True)
class Route:
    """One method (or ANY) of one path of the API, and the logical id of its function.

    `authorizer`: the name of the API's authorizer that decides about its requests; empty if everybody may call it.
    """

    path: str
    method: str
    function: str
    timeout_s: float = 29.0
    streamed: bool = False
    authorizer: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of a function (its logical id).

    `kind`: `scheduler` for ScheduleV2 (EventBridge Scheduler), `rule` for Schedule (an EventBridge rule).
    `input_json`: the event that the template defines; None for the default event.
    """

    name: str
    function: str
    expression: str
    kind: str
    input_json: str | None = None


@dataclass(frozen=True, slots=True)
class LogSubscription:
    """A function (its logical id) that gets the lines of the functions' logs that match a filter pattern."""

    name: str
    function: str
    pattern: LogPattern


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable. `from_parameter`: whether its value depends on a parameter of the template."""

    value: str
    from_parameter: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """One `AWS::Serverless::Function`. `layers` are the layers' source folders, in order."""

    logical_id: str
    name: str
    code: Path
    handler: str
    memory_mb: int
    timeout_s: float
    environment: Mapping[str, Variable]
    routes: Sequence[Route] = ()
    schedules: Sequence[Schedule] = ()
    log_subscriptions: Sequence[LogSubscription] = ()
    layers: Sequence[Path] = ()
    reserved_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A DynamoDB table: `definition` is DynamoDB's CreateTable request."""

    logical_id: str
    definition: Mapping[str, object]
    ttl_attribute: str | None = None

    @property
    def name(self) -> str:
        """The physical name."""
        return str(self.definition["TableName"])


@dataclass(frozen=True, slots=True)
class Queue:
    """An SQS queue: `attributes` are those of SQS's CreateQueue request."""

    logical_id: str
    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """The configured response of the API to one of its own errors, such as MISSING_AUTHENTICATION_TOKEN."""

    status: int | None = None
    templates: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cors:
    """The headers of the answer to a preflight request (OPTIONS). The template's quotes are removed."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Authorizer:
    """A Lambda authorizer of the type REQUEST: `function` is the logical id of its function.

    `identity_headers`, `identity_query`: the headers (in lower case) and query parameters without which a request is
    refused, and by which a result is cached for `ttl_s` seconds; 0 caches nothing.
    """

    function: str
    ttl_s: int = 0
    identity_headers: Sequence[str] = ()
    identity_query: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Api:
    """The settings of the REST API. `authorizers`: name → authorizer. `base_path`: the first part of its paths, such as
    `/llm`, where the template maps a domain with a base path to it.
    """

    stage: str = "Prod"
    region: str = "us-east-1"
    authorizers: Mapping[str, Authorizer] = field(default_factory=dict)
    gateway_responses: Mapping[str, GatewayResponse] = field(default_factory=dict)
    binary_media_types: Sequence[str] = ()
    cors: Cors | None = None
    base_path: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A whole template."""

    path: Path
    region: str
    api: Api
    functions: Sequence[Function]
    tables: Sequence[Table]
    queues: Sequence[Queue]

    @property
    def routes(self) -> list[Route]:
        """The routes of all functions."""
        return [route for function in self.functions for route in function.routes]
