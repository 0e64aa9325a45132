"""Each of Bedrock's errors is one kind of failure."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.model import StructureShape

from sekha_llm_bridge.errors import FailureKind, ProviderError
from sekha_llm_bridge.providers.bedrock.errors import read_error, rejects_max_tokens
from sekha_llm_bridge.providers.output_caps import output_cap_guard
from tests.fakes.bedrock import service
from tests.unit.providers.bedrock.conversations import chat_call

K = FailureKind
OPERATIONS = ("Converse", "ConverseStream", "InvokeModel", "CountTokens")
KINDS = {
    "AccessDeniedException": K.ACCESS_DENIED,
    "InternalServerException": K.SERVER_ERROR,
    "ModelErrorException": K.SERVER_ERROR,
    "ModelNotReadyException": K.RATE_LIMITED,
    "ModelStreamErrorException": K.SERVER_ERROR,
    "ModelTimeoutException": K.TIMEOUT,
    "ResourceNotFoundException": K.MODEL_MISSING,
    "ServiceQuotaExceededException": K.RATE_LIMITED,
    "ServiceUnavailableException": K.SERVER_ERROR,
    "ThrottlingException": K.RATE_LIMITED,
    "ValidationException": K.REQUEST_REJECTED,
}


def failure(
    kind: str, message: str = "", *, status: int = 400, request: dict[str, Any] | None = None, **more: object
) -> ProviderError:
    """Reads an error with its type in the header. `headers` are further headers."""
    headers = {"x-amzn-errortype": kind, **dict(more.pop("headers", {}))}  # type: ignore[call-overload]
    content = json.dumps({"message": message, **more}).encode()
    return read_error(status, content, header=headers.get, request=request or {}, now=datetime.now(UTC))


def shapes() -> list[tuple[str, int]]:
    found = {}
    for operation in OPERATIONS:
        model = service().operation_model(operation)
        streamed = model.get_event_stream_output()
        in_stream: Any = streamed.members.values() if isinstance(streamed, StructureShape) else ()
        for shape in (*model.error_shapes, *(one for one in in_stream if one.metadata.get("exception"))):
            found[shape.name] = shape.metadata["error"]["httpStatusCode"]
    return sorted(found.items())


@pytest.mark.parametrize(("name", "status"), shapes())
def test_every_error_of_botocores_model_has_a_kind(name: str, status: int) -> None:
    """The exceptions of botocore itself do not matter: it is not used to send requests. A new error in its model fails
    here until it has a kind.
    """
    error = failure(f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/", "?", status=status)
    assert error.kind is KINDS[name]
    assert error.failure.provider_status == status
    assert name in error.message


def test_the_type_may_be_in_the_body_with_its_namespace() -> None:
    content = b'{"__type": "com.amazon.coral.service#ThrottlingException", "message": "slow"}'
    error = read_error(400, content, header=lambda _: None, request={}, now=datetime.now(UTC))
    assert error.kind is K.RATE_LIMITED


def test_an_answer_without_a_type_is_read_by_its_status() -> None:
    error = read_error(502, b"<html>", header=lambda _: None, request={}, now=datetime.now(UTC))
    assert error.kind is K.SERVER_ERROR


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("ValidationException", "Input is too long for requested model.", K.CONTEXT_LENGTH_EXCEEDED),
        (
            "ValidationException",
            "The model returned the following errors: prompt is too long: 227255 tokens > 200000 maximum",
            K.CONTEXT_LENGTH_EXCEEDED,
        ),
        (
            "ValidationException",
            "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9001 ",
            K.CONTEXT_LENGTH_EXCEEDED,
        ),
        (
            "ValidationException",
            (
                "Invocation of model ID x with on-demand throughput isn’t supported. Retry your request with the ID or ARN"
                " of an inference profile that contains this model."
            ),
            K.MODEL_MISSING,
        ),
        ("ValidationException", "The provided model identifier is invalid.", K.MODEL_MISSING),
        (
            "ResourceNotFoundException",
            "This model version has reached the end of its life. Please refer to the AWS documentation",
            K.MODEL_MISSING,
        ),
        (
            "ValidationException",
            (
                "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any and try"
                " again."
            ),
            K.CANDIDATE_UNSUITABLE,
        ),
        ("ValidationException", "This model doesn't support tool use.", K.CANDIDATE_UNSUITABLE),
        ("ValidationException", "`temperature` is deprecated for this model.", K.CANDIDATE_UNSUITABLE),
        (
            "ValidationException",
            "Malformed input request: #: extraneous key [top_k] is not permitted, please reformat your input",
            K.CANDIDATE_UNSUITABLE,
        ),
        (
            "ValidationException",
            (
                "1 validation error detected: Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint:"
                " Member must have value less than or equal to 1"
            ),
            K.CANDIDATE_UNSUITABLE,
        ),
        (
            "ValidationException",
            "The model returned the following errors: `temperature` may only be set to 1 when thinking is enabled.",
            K.CANDIDATE_UNSUITABLE,
        ),
        (
            "ValidationException",
            "A conversation must start with a user message. Try again with a conversation that starts with a user",
            K.CANDIDATE_UNSUITABLE,
        ),
        (
            "AccessDeniedException",
            "You invoked an unsupported model or your request did not allow prompt caching. See the documentation.",
            K.CANDIDATE_UNSUITABLE,
        ),
        ("AccessDeniedException", "You don't have access to the model with the specified model ID.", K.ACCESS_DENIED),
        (
            "AccessDeniedException",
            "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: bedrock:InvokeModel on resource: y",
            K.ACCESS_DENIED,
        ),
        (
            "AccessDeniedException",
            "Authentication failed: Please make sure your API Key is valid.",
            K.CREDENTIALS_REJECTED,
        ),
        ("AccessDeniedException", "Bearer Token has expired", K.CREDENTIALS_REJECTED),
        ("ExpiredTokenException", "The security token included in the request is expired", K.CREDENTIALS_REJECTED),
        ("UnrecognizedClientException", "The security token is invalid.", K.CREDENTIALS_REJECTED),
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier", K.CREDENTIALS_REJECTED),
        ("MissingAuthenticationTokenException", "Missing Authentication Token", K.CREDENTIALS_REJECTED),
        ("ThrottlingException", "Too many tokens per day, please wait before trying again.", K.RATE_LIMITED),
        (
            "ValidationException",
            "The guardrail identifier or version provided in the request does not exist.",
            K.ACCESS_DENIED,
        ),
        (
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account.",
            K.ACCESS_DENIED,
        ),
        ("UnknownOperationException", "", K.MODEL_MISSING),
    ],
)
def test_messages_of_public_reports_have_their_kind(kind: str, message: str, expected: FailureKind) -> None:
    statuses = {"Access": 403, "Resour": 404, "Unknow": 404, "Thrott": 429}
    assert failure(kind, message, status=statuses.get(kind[:6], 400)).kind is expected


def test_a_field_that_the_model_does_not_know_is_named() -> None:
    message = "Malformed input request: #: extraneous key [top_k] is not permitted"
    assert failure("ValidationException", message).failure.provider_text == message


@pytest.mark.parametrize(
    ("original", "expected"), [(429, K.RATE_LIMITED), (400, K.CONTEXT_LENGTH_EXCEEDED), (503, K.SERVER_ERROR)]
)
def test_an_error_of_the_model_counts_by_its_own_status_and_may_be_billed(original: int, expected: FailureKind) -> None:
    error = failure("ModelErrorException", "prompt is too long", status=424, originalStatusCode=original)
    assert error.kind is expected
    assert error.failure.may_be_billed


def test_the_wait_that_bedrock_asks_for_is_known() -> None:
    for kind, status in (("ThrottlingException", 429), ("ServiceUnavailableException", 503)):
        assert failure(kind, status=status, headers={"retry-after": "7"}).retry_after_s == 7


def test_a_timeout_of_the_model_may_be_billed_and_a_rejection_may_not() -> None:
    assert failure("ModelTimeoutException", status=408).failure.may_be_billed
    assert not failure("ValidationException").failure.may_be_billed


def test_the_prompt_is_in_no_message_of_the_bridge() -> None:
    error = failure("ValidationException", "messages.0 has secret words", request={"messages": []})
    assert "secret" not in error.message


TOO_MANY = "The maximum tokens you requested exceeds the model limit of 32768. Try again with a maximum tokens value"


@pytest.mark.parametrize(
    ("cap", "requested", "expected"),
    [
        (50_000, None, K.OUTPUT_CAP_REFUSED),
        (50_000, 60_000, K.OUTPUT_CAP_REFUSED),
        (None, None, K.OUTPUT_CAP_REFUSED),  # the bridge's own default
        (None, 60_000, K.CANDIDATE_UNSUITABLE),
    ],
)
def test_an_output_limit_of_the_bridge_that_is_refused_is_not_the_callers_fault(
    cap: int | None, requested: int | None, expected: FailureKind
) -> None:
    call = chat_call(cap=cap, max_output_tokens=requested)
    guard = output_cap_guard(call, rejects_max_tokens, is_always_sent=True)
    with pytest.raises(ProviderError) as caught, guard:
        raise failure("ValidationException", TOO_MANY)
    assert caught.value.kind is expected
