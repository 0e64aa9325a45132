"""Fetches values from moto's AWS server, from a server that returns errors, and from one that never answers."""

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sekha_llm_bridge.config import load_settings, refresh_provider
from sekha_llm_bridge.config.aws_secrets import AwsSecrets
from sekha_llm_bridge.config.references import AwsReference
from sekha_llm_bridge.errors import ConfigError

FILE = """
providers:
  - {id: local, provider_type: ollama, models: [{model_id: m, task: chat_small, context_window: 10}]}
  - id: parameter
    provider_type: openai
    api_key: ${ssm:/sekha/key}
    models: [{model_id: m, task: chat_small, context_window: 10}]
  - id: secret
    provider_type: openai
    base_url: http://secret
    headers: {Authorization: "Bearer ${secretsmanager:sekha/json#token}", X-Plain: "${secretsmanager:sekha/plain}"}
    models: [{model_id: m, task: chat_small, context_window: 10}]
"""


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An account with the values that FILE refers to."""
    point_to(moto, monkeypatch)
    ssm, secrets = boto3.client("ssm"), boto3.client("secretsmanager")
    ssm.put_parameter(Name="/sekha/key", Value="sk-first", Type="SecureString")
    secrets.create_secret(Name="sekha/json", SecretString='{"token": "t-1", "number": 7}')
    secrets.create_secret(Name="sekha/plain", SecretString="plain")
    yield ssm
    ssm.delete_parameter(Name="/sekha/key")
    for name in ("sekha/json", "sekha/plain"):
        secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "llm.yaml"
    path.write_text(FILE)
    return path


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)


def test_parameters_and_secrets_are_fetched_and_decrypted(aws: Any, path: Path) -> None:
    _, parameter, secret = load_settings(path).providers
    assert parameter.api_key
    assert parameter.api_key.get_secret_value() == "sk-first"
    assert {name: value.get_secret_value() for name, value in secret.headers.items()} == {
        "Authorization": "Bearer t-1",
        "X-Plain": "plain",
    }


def test_refresh_after_a_401_returns_the_provider_with_the_rotated_key(aws: Any, path: Path) -> None:
    source = AwsSecrets()
    settings = load_settings(path, secrets=source)
    aws.put_parameter(Name="/sekha/key", Value="sk-second", Overwrite=True)
    fresh = refresh_provider(settings, "parameter", secrets=source)
    assert fresh.api_key
    assert fresh.api_key.get_secret_value() == "sk-second"
    assert fresh.model_copy(update={"api_key": settings.providers[1].api_key}) == settings.providers[1]


def test_refresh_without_a_rotated_key_returns_an_equal_provider(aws: Any, path: Path) -> None:
    settings = load_settings(path)
    for provider in settings.providers:
        assert refresh_provider(settings, provider.id) == provider


def test_refresh_of_a_provider_whose_parameter_was_deleted_is_an_error(aws: Any, path: Path) -> None:
    settings = load_settings(path)
    aws.delete_parameter(Name="/sekha/key")
    with pytest.raises(
        ConfigError, match=r"llm\.yaml:6: providers\[1\]\.api_key: \$\{ssm:/sekha/key\} cannot be fetched"
    ):
        refresh_provider(settings, "parameter")
    aws.put_parameter(Name="/sekha/key", Value="sk", Type="SecureString")


def test_refresh_of_a_provider_that_is_not_in_the_file_is_an_error(aws: Any, path: Path) -> None:
    settings = load_settings(path)
    with pytest.raises(ConfigError, match="no provider has the id `other`"):
        refresh_provider(settings, "other")


def test_missing_values_disable_their_providers_and_the_warning_names_the_remedy(
    moto: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(moto, monkeypatch)
    settings = load_settings(path)
    assert [provider.id for provider in settings.providers] == ["local"]
    parameter, secret = settings.warnings
    assert "${ssm:/sekha/key} cannot be fetched: it does not exist in this account and region" in parameter
    assert "aws ssm put-parameter" in parameter
    assert "${secretsmanager:sekha/json#token} cannot be fetched: it does not exist" in secret
    assert "${secretsmanager:sekha/plain} cannot be fetched: it does not exist" in secret


def test_a_binary_secret_is_accepted_only_if_it_is_text(aws: Any) -> None:
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name="binary/text", SecretBinary="naïve".encode())
    secrets.create_secret(Name="binary/bytes", SecretBinary=b"\xff\xfe")
    text, not_text = AwsReference("secretsmanager", "binary/text"), AwsReference("secretsmanager", "binary/bytes")
    found = AwsSecrets().fetch([text, not_text])
    assert found[text] == "naïve"
    assert "it is not text" in str(found[not_text])


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDeniedException", "cannot be fetched: access is denied: allow the role ssm:GetParameters on it"),
        ("InvalidKeyId", "cannot be fetched: access is denied: allow the role ssm:GetParameters on it"),
        ("ValidationException", "cannot be fetched: AWS answered ValidationException"),
        (
            "ExpiredTokenException",
            "could not be fetched yet: the AWS credentials are not valid (ExpiredTokenException)",
        ),
        ("ThrottlingException", "could not be fetched yet: AWS answered ThrottlingException"),
        ("InternalServerError", "could not be fetched yet: AWS answered InternalServerError"),
        ("KmsWhatever", "could not be fetched yet: AWS answered KmsWhatever"),
    ],
)
def test_an_aws_error_is_reported_with_a_remedy_and_without_its_message(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: str, remedy: str
) -> None:
    with AwsErrorServer(code) as url:
        point_to(url, monkeypatch)
        warnings = load_settings(path).warnings
    assert f"${{ssm:/sekha/key}} {remedy}" in warnings[0]
    assert not any("123456789012" in warning for warning in warnings)


def test_missing_aws_credentials_are_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "there are no AWS credentials: give the function a role" in load_settings(path).warnings[0]


def test_a_missing_aws_region_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert "no AWS region is configured: set AWS_REGION" in load_settings(path).warnings[0]


def test_a_malformed_endpoint_disables_only_the_providers_that_need_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to("no url", monkeypatch)
    assert [provider.id for provider in load_settings(path).providers] == ["local"]


def test_without_an_answer_from_aws_all_providers_wait_for_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading ends, after the time-out of one call, for any number of values."""
    path = tmp_path / "many.yaml"
    models = "models: [{model_id: m, task: chat_small, context_window: 10}]"
    rows = [f"  - {{id: p{n}, provider_type: openai, api_key: '${{ssm:/key/{n}}}', {models}}}" for n in range(12)]
    path.write_text("\n".join(["providers:", *rows]))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        settings = load_settings(path)
    assert (len(settings.providers), settings.disabled) == (12, ())
    assert set(settings.pending) == {f"p{n}" for n in range(12)}
    assert all("AWS did not answer in time" in reason for reason in settings.pending.values())


class AwsErrorServer:
    """A server that answers every request with the AWS error `code`."""

    def __init__(self, code: str) -> None:
        body = json.dumps({"__type": code, "message": "User: arn:aws:iam::123456789012:role/x is not allowed"}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(400)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
