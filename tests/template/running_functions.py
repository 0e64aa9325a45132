"""The functions of the template in this process, invoked as Lambda does, in front of stand-ins over HTTP.

AWS is moto, Bedrock and the other providers are fakes, Chroma is a real server. The environment of a function is that of
the translated template, and its access key id is its name, by which its requests to AWS are known.
"""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import boto3
import yaml

from sekha_llm_bridge.access.caller import CONTEXT_FIELD, Caller, KeyPolicy
from sekha_llm_bridge.access.keys.key_text import new_key
from sekha_llm_bridge.access.keys.record import KeyRecord
from tests.fakes.bedrock import FakeBedrock
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.functions import FakeContext, _load, rest_event
from tests.fakes.keys import CREATED
from tests.fakes.provider import FakeProvider
from tests.fakes.settings import chat_model, embedding_model, provider
from tests.template.aws_calls import Call, calls_of_bedrock, calls_of_requests
from tests.template.cloudformation import Template
from tests.template.deployed import Deployed

FOLDERS = {function.name: Path(function.folder).name for function in Template().functions}
CLAUDE, TITAN, GUARDRAIL = "anthropic.claude-3-5-sonnet-20241022-v2:0", "amazon.titan-embed-text-v2:0", "abc1"
_REMAINING_MS = 300_000


class _Instance(NamedTuple):
    """A loaded function, and the event loop that it has set, to which its connections belong."""

    module: ModuleType
    loop: asyncio.AbstractEventLoop


class RunningFunctions:
    """`calls` tells what the functions have asked AWS for. `chroma_url` is the server that they use, where an invocation
    names no other.
    """

    def __init__(
        self, deployed: Deployed, aws: DynamoDb, fake: FakeProvider, bedrock: FakeBedrock, chroma_url: str, folder: Path
    ) -> None:
        self.aws, self.fake, self.bedrock, self.chroma_url = aws, fake, bedrock, chroma_url
        self._folder = folder
        self._functions = deployed.of_type("AWS::Lambda::Function")
        self._instances: dict[tuple[str, str], _Instance] = {}
        self.queues = aws.new_queue()
        self._names = {
            **{f"<{table}>": aws.new_table(table) for table in ("StateTable", "KeysTable", "AnswersTable")},
            "<VectorQueue>": self.queues.url,
            "<VectorDeadLetters>": self.queues.dead_letters_url,
        }
        self.key = new_key()
        self._store_key()
        self._store_secrets()

    def calls(self) -> dict[str, set[Call]]:
        """Returns function → what it has asked for."""
        found: defaultdict[str, set[Call]] = defaultdict(set)
        requests = [request for request in self.aws.requests if request.caller in FOLDERS]
        for function, call in [*calls_of_requests(requests), *calls_of_bedrock(self.bedrock.received)]:
            found[function].add(call)
        return found

    def request(
        self,
        function: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        policy: KeyPolicy | None = None,
        chroma_url: str | None = None,
    ) -> int:
        """Sends one request, a POST where it has a body, with the key's policy; returns the status of the answer."""
        method, text = ("GET", None) if body is None else ("POST", json.dumps(body))
        event = rest_event(method, path, text, {"content-type": "application/json", **(headers or {})})
        caller = Caller(self.key.key_id, {}, policy or KeyPolicy())
        event["requestContext"]["authorizer"] = {CONTEXT_FIELD: caller.context_text()}
        return int(self.invoke(function, event, chroma_url=chroma_url)["statusCode"])

    def invoke(self, function: str, event: object, *, chroma_url: str | None = None) -> Any:
        """Invokes a function, with a new instance for each Chroma server; returns its answer."""
        url = chroma_url or self.chroma_url
        with patch.dict(os.environ, self._environment(function, self._config(url))):
            if (function, url) not in self._instances:
                self._instances[function, url] = _Instance(_load(FOLDERS[function]), asyncio.get_event_loop())
            instance = self._instances[function, url]
            asyncio.set_event_loop(instance.loop)
            return instance.module.handler(event, FakeContext(_REMAINING_MS))

    def _environment(self, function: str, config: str) -> dict[str, str]:
        variables: dict[str, str] = self._functions[function]["Environment"]["Variables"]
        return {
            **{name: self._names.get(value, value) for name, value in variables.items()},
            "AWS_ACCESS_KEY_ID": function,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.aws.url,
            "LLM_CONFIG_PATH": config,
        }

    def _config(self, chroma_url: str) -> str:
        """Returns the path of the configuration with this Chroma server."""
        path = self._folder / f"{chroma_url.rpartition(':')[2]}.yaml"
        if path.exists():
            return str(path)
        first = provider("first", chat_model("gpt"), embedding_model("mini"), base_url=f"{self.fake.url}/v1")
        second = provider("second", chat_model("other"), base_url=f"{self.fake.url}/v1")
        models = (chat_model(CLAUDE, context_window=200_000), embedding_model(TITAN))
        guarded = {
            "guardrail_id": GUARDRAIL,
            "guardrail_version": "1",
            "region": "eu-west-1",
            "trust_token_counts": True,
        }
        content = {
            "providers": [
                {**first, "api_key": "${ssm:/sekha/first}"},
                # Two secrets, so that they are fetched in one call.
                {
                    **second,
                    "api_key": "${secretsmanager:sekha/second}",
                    "headers": {"x-team": "${secretsmanager:sekha/team}"},
                },
                provider("bedrock", *models, provider_type="bedrock", base_url=self.bedrock.url, **guarded),
                {"id": "home", "provider_type": "ollama", "base_url": self.fake.url, "models": "auto"},
            ],
            "default_models": {"embedding": "mini"},
            "chroma": {"url": chroma_url, "auth_token": "${ssm:/sekha/chroma}${secretsmanager:sekha/chroma}"},
        }
        path.write_text(yaml.safe_dump(content))
        return str(path)

    def _store_key(self) -> None:
        record = KeyRecord(self.key.key_id, self.key.digest, "a key", CREATED)
        self.aws.client.put_item(TableName=self._names["<KeysTable>"], Item=record.as_attributes())

    def _store_secrets(self) -> None:
        session = boto3.Session("test-observer", "secret", region_name=REGION)
        parameters = session.client("ssm", endpoint_url=self.aws.url)
        for name in ("first", "chroma"):
            parameters.put_parameter(Name=f"/sekha/{name}", Value=f"{name}-key", Type="SecureString")
        secrets = session.client("secretsmanager", endpoint_url=self.aws.url)
        for name in ("second", "team", "chroma"):
            secrets.create_secret(Name=f"sekha/{name}", SecretString=f"{name}-key")
