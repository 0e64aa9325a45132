"""What the local stack reads out of a template, and how it refuses what it does not understand."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from local_stack.cloudformation import TemplateError
from local_stack.template import Authorizer, Function, Template
from local_stack.template_reader import read_template

HEADER = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Level: {Type: String, Default: INFO}
  Key: {Type: String}
Globals:
  Function:
    Handler: app.handler
    Timeout: 7
    Layers: [!Ref Shared]
    Environment: {Variables: {LEVEL: !Ref Level, TABLE: !Ref Table, QUEUE: !Ref Queue}}
Conditions:
  Never: !Equals [!Ref Level, DEBUG]
  Always: !Not [!Condition Never]
Mappings:
  Sizes: {us-east-1: {memory: 640}}
Resources:
  Api: {Type: AWS::Serverless::Api, Properties: {StageName: prod}}
  Shared: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layer}}
  Extra: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: extra}}
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: !Sub ${AWS::StackName}-things
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}, {AttributeName: owner, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      GlobalSecondaryIndexes:
        - {IndexName: byOwner, KeySchema: [{AttributeName: owner, KeyType: HASH}], Projection: {ProjectionType: ALL}}
      TimeToLiveSpecification: {AttributeName: expires, Enabled: true}
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 3}
  Dead: {Type: AWS::SQS::Queue}
"""


def read(folder: Path, resources: str) -> Template:
    """The template that consists of HEADER and `resources`, in a folder that has the code it names."""
    for name in ("code", "layer", "extra"):
        (folder / name).mkdir(exist_ok=True)
    path = folder / "template.yaml"
    path.write_text(HEADER + dedent(resources).replace("\n", "\n  "), encoding="utf-8")
    return read_template(path, parameters={"Key": "given"})


def function(folder: Path, properties: str) -> Function:
    """The one function with `properties`, written as a flow mapping's content."""
    resource = f"\nOne: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: code, {properties}}}}}"
    return read(folder, resource).functions[0]


def test_a_functions_own_properties_override_the_globals(tmp_path: Path) -> None:
    one = function(tmp_path, "MemorySize: 512, Timeout: 9, Handler: other.run")
    assert (one.memory_mb, one.timeout_s, one.handler, one.code) == (512, 9, "other.run", tmp_path / "code")


def test_globals_apply_to_properties_that_a_function_does_not_set(tmp_path: Path) -> None:
    one = function(tmp_path, "MemorySize: !FindInMap [Sizes, !Ref AWS::Region, memory]")
    assert (one.memory_mb, one.timeout_s, one.handler) == (640, 7, "app.handler")


def test_layers_of_globals_and_function_are_joined_in_order(tmp_path: Path) -> None:
    assert function(tmp_path, "Layers: [!Ref Extra]").layers == [tmp_path / "layer", tmp_path / "extra"]


def test_variables_of_globals_and_function_are_joined(tmp_path: Path) -> None:
    environment = function(tmp_path, "Environment: {Variables: {LEVEL: TRACE, N: 1, FLAG: true}}").environment
    assert {name: one.value for name, one in environment.items()} == {
        "LEVEL": "TRACE",
        "N": "1",
        "FLAG": "true",
        "TABLE": "sekha-local-things",
        "QUEUE": "https://sqs.us-east-1.amazonaws.com/123456789012/sekha-local-Queue",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("!Ref Level", True),
        ("!Sub 'x-${Level}'", True),
        ("!If [Always, !Ref Key, none]", True),
        ("fixed", False),
        ("!Ref Table", False),
    ],
)
def test_a_variable_records_whether_it_depends_on_a_parameter(tmp_path: Path, value: str, *, expected: bool) -> None:
    one = function(tmp_path, f"Environment: {{Variables: {{X: {value}}}}}")
    assert one.environment["X"].from_parameter is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("!Sub '${Level}/${AWS::Region}/${Table.Arn}/${!Literal}'",
         "INFO/us-east-1/arn:aws:dynamodb:us-east-1:123456789012:table/sekha-local-things/${Literal}"),
        ("!Sub ['${a}-${Key}', {a: !Ref Level}]", "INFO-given"),
        ("!Join [',', [a, !Ref Level]]", "a,INFO"),
        ("!Select [1, !Split ['-', 'a-b-c']]", "b"),
        ("!If [Never, yes, !Ref Key]", "given"),
        ("!GetAtt Queue.QueueName", "sekha-local-Queue"),
        ("!Ref AWS::AccountId", "123456789012"),
    ],
)  # fmt: skip
def test_intrinsic_functions_are_resolved(tmp_path: Path, value: str, expected: str) -> None:
    one = function(tmp_path, f"Environment: {{Variables: {{X: {value}}}}}")
    assert one.environment["X"].value == expected


def test_no_value_removes_a_property(tmp_path: Path) -> None:
    one = function(tmp_path, "MemorySize: !If [Never, 512, !Ref AWS::NoValue]")
    assert one.memory_mb == 128


def test_routes_carry_path_method_and_the_integrations_limits(tmp_path: Path) -> None:
    one = function(
        tmp_path,
        "Events: {A: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /a, Method: post}}, "
        "B: {Type: Api, Properties: {RestApiId: !Ref Api, Path: '/b/{x+}', Method: ANY, TimeoutInMillis: 900000, "
        "ResponseTransferMode: RESPONSE_STREAM}}}",
    )
    assert [(r.path, r.method, r.timeout_s, r.streamed) for r in one.routes] == [
        ("/a", "POST", 29.0, False),
        ("/b/{x+}", "ANY", 900.0, True),
    ]


@pytest.mark.parametrize(
    ("properties", "fault"),
    [
        ("TimeoutInMillis: 29001", "expected 50 to 29000, found 29001; up to 900000 with ResponseTransferMode"),
        ("TimeoutInMillis: 49", "expected 50 to 29000, found 49"),
        ("TimeoutInMillis: 900001, ResponseTransferMode: RESPONSE_STREAM", "expected 50 to 900000, found 900001"),
        ("ResponseTransferMode: STREAM", "expected BUFFERED or RESPONSE_STREAM, found STREAM"),
    ],
)
def test_timeouts_outside_api_gateways_limits_are_refused(tmp_path: Path, properties: str, fault: str) -> None:
    event = f"{{Type: Api, Properties: {{Path: /a, Method: get, {properties}}}}}"
    with pytest.raises(TemplateError, match=fault):
        function(tmp_path, f"Events: {{A: {event}}}")


def test_schedules_of_both_kinds_are_read_with_their_input(tmp_path: Path) -> None:
    one = function(
        tmp_path,
        "Events: {A: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute), Input: '{\"a\": 1}'}}, "
        "B: {Type: Schedule, Properties: {Schedule: rate(2 hours), Name: named}}}",
    )
    assert [(s.name, s.function, s.expression, s.kind, s.input_json) for s in one.schedules] == [
        ("sekha-local-One-A", "One", "rate(1 minute)", "scheduler", '{"a": 1}'),
        ("named", "One", "rate(2 hours)", "rule", None),
    ]


@pytest.mark.parametrize("state", ["State: DISABLED", "Enabled: false"])
def test_a_disabled_schedule_is_left_out(tmp_path: Path, state: str) -> None:
    one = function(tmp_path, f"Events: {{A: {{Type: Schedule, Properties: {{Schedule: rate(1 day), {state}}}}}}}")
    assert one.schedules == []


def test_a_resource_whose_condition_is_false_is_ignored(tmp_path: Path) -> None:
    resource = "\nOne: {Type: AWS::Serverless::Function, Condition: Never, Properties: {CodeUri: code}}"
    assert read(tmp_path, resource).functions == []


def test_tables_are_create_table_requests(tmp_path: Path) -> None:
    table = read(tmp_path, "").tables[0]
    assert table.name == "sekha-local-things"
    assert table.ttl_attribute == "expires"
    assert set(table.definition) == {
        "TableName",
        "BillingMode",
        "AttributeDefinitions",
        "KeySchema",
        "GlobalSecondaryIndexes",
    }


def test_a_simple_table_has_sams_default_key(tmp_path: Path) -> None:
    table = read(tmp_path, "\nSimple: {Type: AWS::Serverless::SimpleTable}").tables[1]
    assert table.definition["AttributeDefinitions"] == [{"AttributeName": "id", "AttributeType": "S"}]


def test_queues_carry_their_attributes_and_redrive_policy(tmp_path: Path) -> None:
    queue = read(tmp_path, "").queues[0]
    assert queue.attributes["VisibilityTimeout"] == "60"
    assert json.loads(queue.attributes["RedrivePolicy"]) == {
        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:sekha-local-Dead",
        "maxReceiveCount": 3,
    }


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ("Timeout: soon", "One.Timeout"),
        ("CodeUri: nowhere", "One.CodeUri"),
        ("Layers: [!Ref Table]", "One.Layers[1]"),
        ("Environment: {Variables: {X: !Ref Nobody}}", "One.Environment.Variables.X"),
        ("Environment: {Variables: {X: !ImportValue y}}", "One.Environment.Variables.X"),
        ("Environment: {Variables: {X: !GetAtt Api.Nonsense}}", "One.Environment.Variables.X"),
        ("Environment: {Variables: {X: !If [Nothing, a, b]}}", "One.Environment.Variables.X"),
        ("Events: {E: {Type: HttpApi}}", "One.Events.E.Type"),
        ("Events: {E: {Type: Api, Properties: {Path: /x}}}", "One.Events.E.Method"),
        ("PackageType: Image", "One.PackageType"),
    ],
)
def test_an_unsupported_part_of_the_template_is_an_error_that_names_it(
    tmp_path: Path, properties: str, named: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        function(tmp_path, properties)
    assert str(caught.value).startswith(f"{named}: ")


def test_a_parameter_without_a_value_is_an_error_only_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(
        "Parameters: {Needed: {Type: String}}\nResources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: a}}}"
    )
    assert read_template(tmp_path / "template.yaml").queues[0].name == "a"
    (tmp_path / "template.yaml").write_text(
        "Parameters: {Needed: {Type: String}}\n"
        "Resources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: !Ref Needed}}}"
    )
    with pytest.raises(TemplateError, match="parameter Needed has no Default"):
        read_template(tmp_path / "template.yaml")


@pytest.mark.parametrize("text", ["", "[]", "a: [", "Resources: 3"])
def test_a_document_that_is_no_template_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "template.yaml").write_text(text)
    with pytest.raises(TemplateError):
        read_template(tmp_path / "template.yaml")


def test_gateway_responses_binary_types_and_cors_are_read(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(
        dedent("""
        Resources:
          Api:
            Type: AWS::Serverless::Api
            Properties:
              StageName: live
              BinaryMediaTypes: [image~1png]
              Cors: "'*'"
              GatewayResponses:
                DEFAULT_4XX:
                  StatusCode: 418
                  ResponseTemplates: {application/json: '{}'}
                  ResponseParameters: {Headers: {x: "'1'"}}
        """)
    )
    api = read_template(tmp_path / "template.yaml").api
    assert (api.stage, api.binary_media_types) == ("live", ["image/png"])
    assert api.cors is not None
    assert api.cors.headers == {"Access-Control-Allow-Origin": "*"}
    response = api.gateway_responses["DEFAULT_4XX"]
    assert (response.status, response.templates, response.headers) == (418, {"application/json": "{}"}, {"x": "'1'"})


AUTHORIZED = """
Gate: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: code, AutoPublishAlias: live}}}}
Thing:
  Type: AWS::Serverless::Function
  Properties:
    CodeUri: code
    Events:
      Closed: {{Type: Api, Properties: {{Path: /closed, Method: ANY}}}}
      Open: {{Type: Api, Properties: {{Path: /open, Method: ANY, Auth: {{Authorizer: NONE}}}}}}
Other:
  Type: AWS::Serverless::Api
  Condition: Always
  Properties:
    StageName: prod
    Auth: {auth}
"""


def read_authorized(folder: Path, auth: str) -> Template:
    """The template whose API has this `Auth`, and no other API."""
    for name in ("code", "layer", "extra"):
        (folder / name).mkdir(exist_ok=True)
    path = folder / "template.yaml"
    without_api = HEADER.replace("  Api: {Type: AWS::Serverless::Api, Properties: {StageName: prod}}\n", "")
    resources = dedent(AUTHORIZED.format(auth=auth)).replace("\n", "\n  ")
    path.write_text(without_api + resources, encoding="utf-8")
    return read_template(path, parameters={"Key": "given"})


GATE = "FunctionPayloadType: REQUEST, FunctionArn: {arn}, Identity: {{{identity}}}"
AUTH = "{{DefaultAuthorizer: Key, Authorizers: {{Key: {{" + GATE + "}}}}}}"


@pytest.mark.parametrize("arn", ["!Ref Gate.Alias", "!GetAtt Gate.Arn", "!Sub '${Gate.Alias}'"])
def test_the_default_authorizer_is_for_every_path_but_those_with_none(tmp_path: Path, arn: str) -> None:
    made = read_authorized(tmp_path, AUTH.format(arn=arn, identity="ReauthorizeEvery: 0"))
    assert made.api.authorizers == {"Key": Authorizer("Gate")}
    assert {route.path: route.authorizer for route in made.routes} == {"/closed": "Key", "/open": ""}


def test_identity_sources_and_the_time_to_keep_a_result_are_read(tmp_path: Path) -> None:
    identity = "Headers: [X-Api-Key], QueryStrings: [key], ReauthorizeEvery: 60"
    made = read_authorized(tmp_path, AUTH.format(arn="!GetAtt Gate.Arn", identity=identity))
    assert made.api.authorizers["Key"] == Authorizer("Gate", 60, ("x-api-key",), ("key",))


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        (AUTH.format(arn="!GetAtt Gate.Arn", identity=""), "ReauthorizeEvery must be 0"),
        (AUTH.format(arn="!GetAtt Gate.Arn", identity="Context: [a]"), "does not know Context"),
        (AUTH.format(arn="!GetAtt Table.Arn", identity="ReauthorizeEvery: 0"), "is not a function of this template"),
        ("{Authorizers: {Key: {FunctionArn: !GetAtt Gate.Arn}}}", "knows only REQUEST"),
        ("{DefaultAuthorizer: Other}", "the API has no authorizer Other"),
    ],
)
def test_an_authorizer_that_the_local_stack_cannot_emulate_is_refused(tmp_path: Path, auth: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        read_authorized(tmp_path, auth)
