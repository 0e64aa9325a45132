"""What `template.yaml` promises, read from the file itself."""

import json
import operator
import os
import re
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from local_stack import log_pattern
from sekha_llm_bridge.access.caller import ANYONE
from sekha_llm_bridge.api.request_log import write_request_line
from sekha_llm_bridge.api.request_state import RequestState
from sekha_llm_bridge.aws.state_table import usage_batch_key, usage_pk
from sekha_llm_bridge.errors import (
    AccessUnavailable,
    AuthenticationFailed,
    BridgeError,
    DeadlineExceeded,
    InvalidRequest,
    RateLimited,
    UnknownPath,
)
from sekha_llm_bridge.execution import Attempt, AttemptLog
from sekha_llm_bridge.execution.inbound import InboundRequest
from sekha_llm_bridge.observability import logger
from sekha_llm_bridge.usage import Usage
from tests.fakes.clock import FakeClock
from tests.template.cloudformation import ROOT, Function, Template, parameters_of

TEMPLATE = Template()
FUNCTIONS = {function.name: function for function in TEMPLATE.functions}
API_FUNCTIONS = [function for function in TEMPLATE.functions if function.events("Api")]
API_EVENTS = [(Path(function.folder).name, event) for function in API_FUNCTIONS for event in function.events("Api")]
STREAMED_FOR_S = {
    "ChatCompletionsFunction": 900,
    "MessagesFunction": 900,
    "ResponsesFunction": 900,
    "OllamaFunction": 900,
    "EmbeddingsFunction": 300,
    "SummarizeFunction": 300,
    "ExtractFunction": 300,
    "ScoreFunction": 300,
}
STREAMING = [function for function in API_FUNCTIONS if function.name in STREAMED_FOR_S]
RESPONSES: dict[str, dict[str, Any]] = TEMPLATE.resources["Api"]["Properties"]["GatewayResponses"]

SNS = "arn:aws:sns:eu-west-1:123456789012:"
MODELS = "arn:aws:bedrock:*::foundation-model/"
PROFILES = "arn:aws:bedrock:eu-west-1:123456789012:"
KMS = "arn:aws:kms:eu-west-1:123456789012:"

each_function = pytest.mark.parametrize("function", TEMPLATE.functions, ids=lambda function: function.name)
each_api_function = pytest.mark.parametrize("function", API_FUNCTIONS, ids=lambda function: function.name)
BRIDGE = ROOT / "layers/bridge/sekha_llm_bridge"
each_response = pytest.mark.parametrize("name", RESPONSES)


def test_every_folder_of_functions_is_one_function_and_every_function_has_its_folder() -> None:
    folders = {str(app.parent.relative_to(ROOT)) for app in ROOT.glob("functions/*/app.py")}
    assert sorted(function.folder for function in TEMPLATE.functions) == sorted(folders)


def test_every_path_of_the_contract_reaches_its_function() -> None:
    assert {event["Path"]: folder_name for folder_name, event in API_EVENTS} == {
        "/v1/chat/completions": "chat_completions",
        "/api/v1/chat/completions": "chat_completions",
        "/v1/messages": "messages",
        "/v1/messages/count_tokens": "messages",
        "/v1/responses": "responses",
        "/api/chat": "ollama",
        "/api/generate": "ollama",
        "/api/embed": "ollama",
        "/api/embeddings": "ollama",
        "/api/show": "ollama",
        "/api/tags": "ollama",
        "/api/version": "ollama",
        "/api/ps": "ollama",
        "/v1/embeddings": "embeddings",
        "/embed": "embed",
        "/embeddings": "embed",
        "/api/v1/embed": "embed",
        "/summarize": "summarize",
        "/api/v1/summarize": "summarize",
        "/extract": "extract",
        "/extract_entities": "extract",
        "/api/v1/extract": "extract",
        "/score": "score",
        "/score_importance": "score",
        "/api/v1/score": "score",
        "/api/v1/search": "search",
        "/api/v1/route": "route",
        "/api/v1/models": "models",
        "/v1/models": "models",
        "/v1/models/{model+}": "models",
        "/api/v1/tasks": "models",
        "/api/v1/usage": "usage",
        "/health": "health",
        "/api/v1/health": "health",
        "/api/v1/health/providers": "health",
        "/": "landing",
        "/{proxy+}": "landing",
    }


@each_api_function
def test_a_wrong_method_reaches_the_function_which_answers_it_in_the_usual_envelope(function: Function) -> None:
    assert {event["Method"] for event in function.events("Api")} == {"ANY"}


@each_api_function
def test_api_gateways_timeout_is_not_longer_than_the_functions(function: Function) -> None:
    for event in function.events("Api"):
        assert event["RestApiId"] == {"Ref": "Api"}
        assert event["TimeoutInMillis"] <= function.properties["Timeout"] * 1000


@each_function
def test_it_runs_on_python_3_13(function: Function) -> None:
    assert (function.properties["Runtime"], function.properties["Handler"]) == ("python3.13", "app.handler")


@each_function
def test_it_has_its_own_role_with_policies_of_this_template_only(function: Function) -> None:
    assert function.properties["Role"] == {"Fn::GetAtt": f"{function.name}Role.Arn"}
    assert "Policies" not in function.role
    assert function.policies <= TEMPLATE.of_type("AWS::IAM::ManagedPolicy").keys()


@each_function
def test_only_functions_that_call_providers_or_store_vectors_write_the_state_table(
    function: Function,
) -> None:
    call_providers = {
        "ChatCompletionsFunction",
        "MessagesFunction",
        "ResponsesFunction",
        "OllamaFunction",
        "EmbeddingsFunction",
        "EmbedFunction",
        "SearchFunction",
        "SummarizeFunction",
        "ExtractFunction",
        "ScoreFunction",
        "HealthCheckFunction",
    }
    store_vectors = {"DrainFunction", "MigrateCollectionsFunction"}
    assert ("StateWritePolicy" in function.policies) == (function.name in call_providers | store_vectors)


@each_function
def test_only_functions_that_store_vectors_send_to_the_queue_and_only_the_drain_receives(
    function: Function,
) -> None:
    puts = function.name in {"EmbeddingsFunction", "EmbedFunction", "OllamaFunction"}
    takes = function.name == "DrainFunction"
    assert ("VectorQueuePutPolicy" in function.policies) == puts
    assert ("VectorQueueDrainPolicy" in function.policies) == takes


@each_function
def test_only_functions_that_ask_models_for_a_caller_keep_answers(function: Function) -> None:
    asks = function.name in {
        "ChatCompletionsFunction",
        "MessagesFunction",
        "ResponsesFunction",
        "OllamaFunction",
        "EmbeddingsFunction",
        "EmbedFunction",
        "SearchFunction",
        "SummarizeFunction",
        "ExtractFunction",
        "ScoreFunction",
    }
    assert ("AnswersPolicy" in function.policies) == asks
    assert ("EncryptionLayer" in function.layers) == asks
    assert ("ANSWERS_TABLE" in function.properties["Environment"]["Variables"]) == asks
    assert ("asks_models=True" in (ROOT / function.folder / "app.py").read_text()) == asks


def test_the_answers_table_has_the_key_id_a_ttl_and_encryption() -> None:
    table = TEMPLATE.resources["AnswersTable"]["Properties"]
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["SSESpecification"]["Fn::If"][2] == {"SSEEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_pending_vectors_are_kept_in_order_for_14_days_and_after_the_stack_is_deleted() -> None:
    waits, dead = TEMPLATE.resources["VectorQueue"], TEMPLATE.resources["VectorDeadLetters"]
    assert waits["Properties"]["FifoQueue"] is dead["Properties"]["FifoQueue"] is True
    for queue in (waits, dead):
        assert queue["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert (queue["DeletionPolicy"], queue["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert waits["Properties"]["VisibilityTimeout"] > FUNCTIONS["DrainFunction"].properties["Timeout"]
    assert waits["Properties"]["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": "VectorDeadLetters.Arn"}


@pytest.mark.parametrize(
    ("function", "rate"), [("DrainFunction", "rate(1 minute)"), ("MigrateCollectionsFunction", "rate(15 minutes)")]
)
def test_drain_and_migration_run_on_a_schedule(function: str, rate: str) -> None:
    [schedule] = FUNCTIONS[function].events("ScheduleV2")
    assert (schedule["ScheduleExpression"], schedule["OmitName"]) == (rate, True)


@each_function
def test_only_the_authorizer_and_those_for_usage_do_not_read_states(function: Function) -> None:
    """The others read breakers, or the lists of models that an Ollama has."""
    reads = function.name not in {"AuthorizerFunction", "UsageFunction", "UsageRecordsFunction"}
    assert ("StateReadPolicy" in function.policies) == reads
    table = function.properties["Environment"]["Variables"]["STATE_TABLE"]
    assert table == ("" if function.name == "AuthorizerFunction" else {"Ref": "StateTable"})


@each_function
def test_usage_is_read_by_one_function_and_counted_by_another_and_neither_reaches_other_items(
    function: Function,
) -> None:
    assert ("UsageReadPolicy" in function.policies) == (function.name == "UsageFunction")
    assert ("UsageWritePolicy" in function.policies) == (function.name == "UsageRecordsFunction")
    policies = TEMPLATE.of_type("AWS::IAM::ManagedPolicy")
    for name, kinds in (("UsageReadPolicy", ["usage#*"]), ("UsageWritePolicy", ["usage#*", "usage_batch#*"])):
        [statement] = policies[name]["PolicyDocument"]["Statement"]
        assert statement["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": kinds}}
    assert usage_pk("2026-11-28").startswith("usage#")
    assert usage_batch_key("1").pk.startswith("usage_batch#")


def test_the_function_that_counts_usage_gets_the_lines_of_requests_that_called_a_provider(log: StringIO) -> None:
    [subscription] = FUNCTIONS["UsageRecordsFunction"].events("CloudWatchLogs")
    assert subscription["LogGroupName"] == {"Ref": "LogGroup"}
    pattern = log_pattern.parse(subscription["FilterPattern"])
    answered = Attempt("p", "m", "ok", 200, "", 1, Decimal(1), Decimal(1), Usage(1))
    for attempts in ([answered], []):
        inbound = InboundRequest(AttemptLog(FakeClock()))
        inbound.attempts.attempts += attempts
        state = RequestState("id", {"method": "POST", "path": "/"}, inbound)
        write_request_line(state, ANYONE, latency_ms=1, now=FakeClock().now())
    logger().info("health check")
    assert [pattern.matches(line) for line in log.getvalue().splitlines()] == [True, False, False]
    # What the function itself writes must not invoke it again.
    assert not pattern.matches(json.dumps({"message": "usage not counted"}))


@each_function
def test_only_the_authorizer_and_what_open_paths_show_to_known_callers_read_the_table_of_keys(
    function: Function,
) -> None:
    reads = function.name in {"AuthorizerFunction", "HealthFunction", "LandingFunction"}
    assert ("KeysReadPolicy" in function.policies) == reads
    assert ("KEYS_TABLE" in function.properties["Environment"]["Variables"]) == reads


def test_no_function_can_write_the_table_of_keys() -> None:
    [statement] = TEMPLATE.of_type("AWS::IAM::ManagedPolicy")["KeysReadPolicy"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "dynamodb:GetItem"
    assert statement["Resource"] == {"Fn::GetAtt": "KeysTable.Arn"}
    others = [name for name in TEMPLATE.of_type("AWS::IAM::ManagedPolicy") if name != "KeysReadPolicy"]
    assert [name for name in others if "KeysTable" in json.dumps(TEMPLATE.resources[name])] == []


def test_every_path_needs_a_key_but_those_of_health_the_first_page_and_unknown_paths() -> None:
    auth = TEMPLATE.resources["Api"]["Properties"]["Auth"]
    assert auth["DefaultAuthorizer"] in auth["Authorizers"]
    is_open = {event["Path"] for _, event in API_EVENTS if event.get("Auth") == {"Authorizer": "NONE"}}
    assert is_open == {"/health", "/api/v1/health", "/", "/{proxy+}"}
    assert [event["Path"] for _, event in API_EVENTS if "Auth" in event and event["Path"] not in is_open] == []


def test_api_gateway_asks_the_authorizer_at_each_request_and_caches_no_policy() -> None:
    [authorizer] = TEMPLATE.resources["Api"]["Properties"]["Auth"]["Authorizers"].values()
    assert authorizer == {
        "FunctionPayloadType": "REQUEST",
        "FunctionArn": {"Ref": "AuthorizerFunction.Alias"},  # its snapshot
        "Identity": {"ReauthorizeEvery": 0},
    }


def test_keys_are_needed_unless_the_parameter_says_otherwise() -> None:
    mode = TEMPLATE.parameters["AuthMode"]
    assert (mode["Default"], mode["AllowedValues"]) == ("keys", ["keys", "none"])


def test_the_authorizer_has_no_secret_of_a_provider() -> None:
    variables = FUNCTIONS["AuthorizerFunction"].properties["Environment"]["Variables"]
    assert {name for name, value in variables.items() if value == ""} == {
        "STATE_TABLE",
        "CHROMA_URL",
        "CHROMA_TOKEN",
        "OPENAI_API_KEY",
    }
    assert FUNCTIONS["AuthorizerFunction"].policies == {"LogsAndTracesPolicy", "KeysReadPolicy"}


@pytest.mark.parametrize("name", ["AUTHORIZER_FAILURE", "AUTHORIZER_CONFIGURATION_ERROR"])
def test_a_key_that_cannot_be_verified_is_a_503_with_the_time_of_a_retry(name: str) -> None:
    assert RESPONSES[name]["ResponseParameters"]["Headers"]["retry-after"] == "'5'"


def test_a_401_says_where_keys_come_from() -> None:
    assert "sekha-bridge keys create" in rendered("UNAUTHORIZED")["error"]["message"]


@each_function
def test_only_functions_that_call_chroma_have_its_client(function: Function) -> None:
    assert "BridgeLayer" in function.layers
    embed = {"EmbeddingsFunction", "EmbedFunction", "SearchFunction", "OllamaFunction"}
    vectors = embed | {"DrainFunction", "MigrateCollectionsFunction"}
    assert ("ChromaLayer" in function.layers) == (function.name in vectors)


def reference_in(parameter: str) -> dict[str, Any]:
    """The reference to a stored secret that a parameter names."""
    return {"Fn::If": [f"Has{parameter}", {"Fn::Join": ["", ["${", {"Ref": parameter}, "}"]]}, ""]}


@each_function
def test_it_has_the_environment_variables_that_it_needs(function: Function) -> None:
    variables = dict(function.properties["Environment"]["Variables"])
    variables.pop("STATE_TABLE")
    own = {"CHROMA_URL", "CHROMA_TOKEN", "OPENAI_API_KEY"}
    has_no_providers = function.name in {"AuthorizerFunction", "UsageRecordsFunction"}
    expected = {
        "AUTH_MODE": {"Ref": "AuthMode"},
        "BRIDGE_REVISION": {"Fn::Sub": "${Revision}, ${SnapStart}"},
        "BRIDGE_RELEASE": {"Ref": "BridgeLayer"},
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
        "CHROMA_URL": {"Ref": "ChromaUrl"},
        "CHROMA_TOKEN": reference_in("ChromaTokenSecret"),
        "OPENAI_API_KEY": reference_in("OpenAiKeySecret"),
        "POWERTOOLS_SERVICE_NAME": {"Ref": "AWS::StackName"},
        "POWERTOOLS_METRICS_NAMESPACE": "SekhaLlmBridge",
        "POWERTOOLS_LOG_LEVEL": {"Ref": "LogLevel"},
        **({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/stream-responses"} if function in STREAMING else {}),
        **({"VECTOR_QUEUE_URL": {"Ref": "VectorQueue"}} if any("Queue" in one for one in function.policies) else {}),
        **({"ANSWERS_TABLE": {"Ref": "AnswersTable"}} if "AnswersPolicy" in function.policies else {}),
        **({"VECTOR_DEAD_LETTERS_URL": {"Ref": "VectorDeadLetters"}} if function.name == "DrainFunction" else {}),
        **({"KEYS_TABLE": {"Ref": "KeysTable"}} if "KeysReadPolicy" in function.policies else {}),
    }
    assert variables == (expected | dict.fromkeys(own, "") if has_no_providers else expected)


def test_only_what_may_take_longer_than_half_a_minute_is_streamed() -> None:
    assert {event["Path"] for function in STREAMING for event in function.events("Api")} == {
        "/v1/chat/completions",
        "/api/v1/chat/completions",
        *("/v1/messages", "/v1/messages/count_tokens", "/v1/responses"),
        *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"),
        *("/api/show", "/api/tags", "/api/version", "/api/ps"),
        "/v1/embeddings",
        *("/summarize", "/api/v1/summarize", "/extract", "/extract_entities", "/api/v1/extract"),
        *("/score", "/score_importance", "/api/v1/score"),
    }
    for function in API_FUNCTIONS:
        modes = {event.get("ResponseTransferMode") for event in function.events("Api")}
        timeouts_ms = {event["TimeoutInMillis"] for event in function.events("Api")}
        assert modes == {"RESPONSE_STREAM" if function in STREAMING else None}
        timeout_s = STREAMED_FOR_S.get(function.name, 29)
        assert timeouts_ms == {timeout_s * 1000}
        assert function.properties["Timeout"] == timeout_s


def test_the_start_script_of_streaming_functions_is_in_the_layer_and_executable() -> None:
    start = ROOT / "layers" / "bridge" / "stream-responses"
    assert os.access(start, os.X_OK)


@each_function
def test_a_change_of_any_parameter_of_a_function_publishes_a_new_version(function: Function) -> None:
    properties = function.properties
    changing = ("Environment", "Architectures", "Tracing", "KmsKeyArn", "VpcConfig")
    given = parameters_of([properties[name] for name in changing], TEMPLATE)
    by_revision = {name for name in given if "change Revision" in TEMPLATE.parameters[name]["Description"]}
    # SnapStart is in BRIDGE_REVISION, because Lambda refuses to publish a version of a function that has not changed.
    named = parameters_of(properties["VersionDescription"], TEMPLATE)
    assert given - by_revision <= named <= given
    assert properties["AutoPublishAlias"] == "live"


def test_health_is_checked_every_minute() -> None:
    [schedule] = FUNCTIONS["HealthCheckFunction"].events("ScheduleV2")
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["OmitName"] is True  # two stacks in one account must not collide
    assert FUNCTIONS["HealthCheckFunction"].properties["Timeout"] < 60  # one check at a time


def test_the_state_table_has_string_keys_pk_and_sk_and_a_ttl() -> None:
    table = TEMPLATE.resources["StateTable"]["Properties"]
    assert table["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert table["AttributeDefinitions"] == [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
    ]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def rendered(name: str) -> dict[str, Any]:
    """The response's body, as API Gateway fills it in."""
    template = RESPONSES[name]["ResponseTemplates"]["application/json"]
    values = {"$context.requestId": "c6af9ac6", "$context.error.messageString": '"Unsupported \\"Media\\" Type"'}
    for variable, value in values.items():
        template = template.replace(variable, value)
    assert "$" not in template, "a variable that API Gateway's documentation does not list"
    return dict(json.loads(template))


@each_response
def test_errors_of_api_gateway_itself_have_openais_envelope(name: str) -> None:
    error = rendered(name)["error"]
    assert error.keys() == {"message", "type", "param", "code", "request_id"}
    assert error["request_id"] == "c6af9ac6"
    assert re.fullmatch(r"[a-z_]+", error["code"])
    assert re.fullmatch(r"[a-z_]+", error["type"])


@each_response
def test_errors_of_api_gateway_itself_have_anthropics_envelope_as_well(name: str) -> None:
    """Its answers cannot differ by path. Anthropic's: https://docs.anthropic.com/en/api/errors."""
    body = rendered(name)
    assert body.keys() == {"error", "type", "request_id"}
    assert (body["type"], body["request_id"]) == ("error", "c6af9ac6")


@each_response
def test_errors_of_api_gateway_itself_have_the_request_id_headers_of_both_apis(name: str) -> None:
    headers = RESPONSES[name]["ResponseParameters"]["Headers"]
    assert headers["x-request-id"] == headers["request-id"] == "context.requestId"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("MISSING_AUTHENTICATION_TOKEN", UnknownPath),
        ("THROTTLED", RateLimited),
        ("INTEGRATION_TIMEOUT", DeadlineExceeded),
        ("BAD_REQUEST_BODY", InvalidRequest),
        ("UNAUTHORIZED", AuthenticationFailed),
        ("AUTHORIZER_FAILURE", AccessUnavailable),
        ("AUTHORIZER_CONFIGURATION_ERROR", AccessUnavailable),
    ],
)
def test_api_gateway_and_the_functions_use_the_same_error_codes(name: str, error: type[BridgeError]) -> None:
    body = rendered(name)["error"]
    assert (RESPONSES[name]["StatusCode"], body["type"], body["code"]) == (error.status, error.type, error.code)


def test_other_errors_of_api_gateway_keep_their_status() -> None:
    assert {name: response.get("StatusCode") for name, response in RESPONSES.items()} == {
        "MISSING_AUTHENTICATION_TOKEN": 404,
        "UNAUTHORIZED": 401,
        "ACCESS_DENIED": 403,
        "WAF_FILTERED": 403,
        "AUTHORIZER_FAILURE": 503,
        "AUTHORIZER_CONFIGURATION_ERROR": 503,
        "REQUEST_TOO_LARGE": 413,
        "THROTTLED": 429,
        "QUOTA_EXCEEDED": 429,
        "INTEGRATION_TIMEOUT": 504,
        "INTEGRATION_FAILURE": 503,
        "BAD_REQUEST_BODY": 400,
        "DEFAULT_4XX": None,
        "DEFAULT_5XX": None,
    }


ALARMS = TEMPLATE.of_type("AWS::CloudWatch::Alarm")


def alarmed(name: str, *values: float) -> bool:
    """Whether an alarm goes off by the values of its last periods."""
    alarm = ALARMS[name]
    compare = {"GreaterThanOrEqualToThreshold": operator.ge, "LessThanThreshold": operator.lt}
    assert len(values) == alarm["EvaluationPeriods"]
    return all(compare[alarm["ComparisonOperator"]](value, alarm["Threshold"]) for value in values)


def test_the_alarm_on_spend_sums_an_hour_and_has_the_parameters_threshold() -> None:
    watched = ALARMS["SpendAlarm"]
    assert (watched["MetricName"], watched["Statistic"], watched["Period"]) == ("MaxCostUsd", "Sum", 3600)
    assert watched["Threshold"] == {"Ref": "SpendAlarmUsdPerHour"}


def test_a_budget_of_which_80_percent_are_used_raises_its_alarm() -> None:
    assert alarmed("BudgetAlarm", 80)
    assert not alarmed("BudgetAlarm", 79.9)


def test_an_open_breaker_a_rejected_key_and_a_fleet_that_is_down_raise_their_alarms() -> None:
    assert alarmed("ProviderRejectedAlarm", 1)
    assert alarmed("BreakerOpenAlarm", 1)
    assert not alarmed("BreakerOpenAlarm", 0)
    assert alarmed("NoProviderAlarm", 0, 0, 0)
    assert not alarmed("NoProviderAlarm", 0, 1, 0)
    assert alarmed("BreakerTableAlarm", 1, 2, 1)
    assert alarmed("KeysTableAlarm", 1)


@pytest.mark.parametrize("alarm", ALARMS)
def test_only_missing_health_checks_count_as_an_alarm_and_only_where_somebody_is_told(alarm: str) -> None:
    """Without a topic, the metric begins with the first gradual deployment, which the alarm must not refuse."""
    where_told = {"Fn::If": ["HasAlertTopic", "breaching", "notBreaching"]}
    assert ALARMS[alarm]["TreatMissingData"] == (where_told if alarm == "NoProviderAlarm" else "notBreaching")


def test_a_health_check_that_fails_three_times_raises_its_alarm() -> None:
    alarm = ALARMS["HealthCheckFailsAlarm"]
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "HealthCheckFunction"}}]
    assert alarmed("HealthCheckFailsAlarm", 1, 1, 1)
    assert not alarmed("HealthCheckFailsAlarm", 1, 0, 1)


def test_the_alarm_on_lost_usage_goes_off_when_lambda_has_tried_a_batch_for_the_last_time() -> None:
    alarm = ALARMS["UsageNotCountedAlarm"]
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "UsageRecordsFunction"}}]
    assert (alarm["Statistic"], alarm["Period"]) == ("Sum", 900)  # three tries take some six minutes
    assert alarmed("UsageNotCountedAlarm", 3)
    assert not alarmed("UsageNotCountedAlarm", 2)


@pytest.mark.parametrize("name", ["INTEGRATION_FAILURE", "DEFAULT_5XX"])
def test_the_answers_for_a_function_without_room_say_busy_and_when_to_retry(name: str) -> None:
    assert "busy" in rendered(name)["error"]["message"]
    assert "5 seconds" in rendered(name)["error"]["message"]
    assert RESPONSES[name]["ResponseParameters"]["Headers"]["retry-after"] == "'5'"


def throttle_of(path: str, method: str = "POST") -> dict[str, Any]:
    """The limits of a path, as API Gateway finds them: those of the method, else those of the stage."""
    settings = {
        (one["ResourcePath"], one["HttpMethod"]): one
        for one in TEMPLATE.resources["Api"]["Properties"]["MethodSettings"]
    }
    key = "/" + path.replace("/", "~1")
    return dict(settings.get((key, method)) or settings["/*", "*"])


CHAT_PATHS = {
    *("/v1/chat/completions", "/api/v1/chat/completions", "/v1/messages", "/v1/responses"),
    *("/api/chat", "/api/generate", "/summarize", "/api/v1/summarize", "/extract", "/extract_entities"),
    *("/api/v1/extract", "/score", "/score_importance", "/api/v1/score"),
}


def test_paths_that_ask_a_chat_model_have_lower_throttles_than_lists() -> None:
    paths = [event["Path"] for _, event in API_EVENTS]
    assert set(paths) > CHAT_PATHS
    for path in paths:
        limits = throttle_of(path)
        prefix = "Chat" if path in CHAT_PATHS else "Request"
        assert limits["ThrottlingRateLimit"] == {"Ref": f"{prefix}sPerSecond"}, path
        assert limits["ThrottlingBurstLimit"] == {"Ref": f"{prefix}Burst"}
    defaults = {name: parameter["Default"] for name, parameter in TEMPLATE.parameters.items()}
    assert defaults["ChatsPerSecond"] < defaults["RequestsPerSecond"]
    assert defaults["ChatBurst"] < defaults["RequestBurst"]


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("ChatCompletionsFunction", "Chats"),
        ("MessagesFunction", "Messages"),
        ("ResponsesFunction", "Responses"),
        ("OllamaFunction", "OllamaRequests"),
    ],
)
def test_a_parameter_limits_the_executions_of_each_api_that_streams_chats(function: str, what: str) -> None:
    limit = FUNCTIONS[function].properties["ReservedConcurrentExecutions"]
    assert limit == {"Fn::If": [f"Limits{what}", {"Ref": f"Max{what}"}, {"Ref": "AWS::NoValue"}]}
    assert TEMPLATE.parameters[f"Max{what}"]["Default"] == 0


def test_a_guided_deployment_explains_every_parameter_and_needs_no_answer() -> None:
    interface = TEMPLATE.metadata["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(TEMPLATE.parameters) == sorted(interface["ParameterLabels"])
    assert all({"Description", "Default"} <= parameter.keys() for parameter in TEMPLATE.parameters.values())


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (
            "ChromaUrl",
            ["", "http://10.0.0.5:8000", "https://db.example.com", "https://api.trychroma.com:443"],
            ["db:8000", "http://db/api", "ftp://db", "http://user:password@db:8000", "https://user:password@db"],
        ),
        ("SecretsPrefix", ["sekha", "team/sekha", "a.b-c_d"], ["", "/sekha", "sekha/", "*", "a/*"]),
        ("SecretsKeyArn", ["", f"{KMS}key/1234-ab"], ["*", f"{KMS}key/*", f"{KMS}alias/mine"]),
        (
            "BedrockModels",
            ["", f"{MODELS}amazon.nova-pro-v1:0", f"{MODELS}anthropic.*", f"{PROFILES}inference-profile/eu.a.b-v1:0"],
            ["*", "amazon.nova-pro-v1:0", "arn:aws:s3:::bucket", f"{MODELS}a,{MODELS}b"],  # of a list, each is matched
        ),
        ("BedrockGuardrailArn", ["", f"{PROFILES}guardrail/abc1"], ["abc1", f"{PROFILES}guardrail/*"]),
        ("AlertTopicArn", ["", f"{SNS}alerts", f"{SNS}a.fifo"], ["*", f"{SNS}*", "alerts"]),
        ("StageName", ["prod", "v2_0", "my-stage"], ["", "a/b", "a.b"]),
    ],
)
def test_a_parameter_that_cannot_work_is_refused(parameter: str, good: list[str], bad: list[str]) -> None:
    pattern = re.compile(TEMPLATE.parameters[parameter]["AllowedPattern"])
    assert [value for value in good if not pattern.match(value)] == []
    assert [value for value in bad if pattern.match(value)] == []
