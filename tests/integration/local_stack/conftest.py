"""A stack of small functions that do on command what real ones do by accident."""

import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from local_stack.testing import RunningStack, running_stack

# Every function runs this code; the body of a request says what to do, as `{"do": …}`; without one it echoes the event.
ACTING = '''
import json, os, pathlib, subprocess, sys, time

def handler(event, context):
    order = json.loads(event.get("body") or "{}") if isinstance(event, dict) else {}
    return getattr(sys.modules[__name__], order.get("do", "echo"))(event, order)

def answered(value):
    return {"statusCode": 200, "body": json.dumps(value)}

def echo(event, order):
    return answered(event)

def pid(event, order):
    return answered(os.getpid())

def environment(event, order):
    return answered(dict(os.environ))

def exit(event, order):
    os._exit(3)

def fail(event, order):
    raise ValueError("a bug")

def sleep(event, order):
    time.sleep(order["seconds"])
    if "then" in order:
        pathlib.Path(order["then"]).touch()
    return answered("slept")

def fill(event, order):
    return {"statusCode": 200, "body": "x" * order["bytes"]}

def hog(event, order):
    memory = bytearray(order["mb"] * 1024 * 1024)
    time.sleep(20)
    return answered(len(memory))

def raw(event, order):
    return order["answer"]

def meet(event, order):
    """Waits until as many invocations as were ordered are here at the same time."""
    folder = pathlib.Path(order["folder"])
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < order["number"]:
        time.sleep(0.01)
    return answered(os.getpid())

def leave_child(event, order):
    return answered(subprocess.Popen(["sleep", "600"]).pid)

def scheduled(event, order):
    pathlib.Path(os.environ["MARKS"], "scheduled.json").write_text(json.dumps(event))
'''

# A runtime that streams, and does what a request's body says, step by step: `[[step, argument], …]`.
STREAMING = '''
import base64, http.client, json, os, pathlib, select, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
ROOT = "/2018-06-01/runtime/invocation/"

class Over(Exception):
    """This invocation needs no proper end."""

class Stream:
    def __init__(self, request_id):
        self.request_id = request_id
        self.connection = http.client.HTTPConnection(API)

    def begin(self, _=None):
        self.connection.putrequest("POST", ROOT + self.request_id + "/response")
        for name, value in (
            ("Lambda-Runtime-Function-Response-Mode", "streaming"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Type", "application/vnd.awslambda.http-integration-response"),
            ("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"),
        ):
            self.connection.putheader(name, value)
        self.connection.endheaders()

    def raw(self, data):
        self.connection.send(b"%x\\r\\n%s\\r\\n" % (len(data), data))

    def send(self, text):
        self.raw(text.encode("latin-1"))

    def prelude(self, metadata):
        self.raw(json.dumps(metadata).encode() + bytes(8))

    def bytewise(self, text):
        for character in text:
            self.send(character)

    def pid(self, _):
        self.raw(b"%d" % os.getpid())

    def count(self, number):
        for index in range(number):
            self.raw(b"%d," % index)

    def fill(self, order):
        """Sends so many bytes; touches `blocked` when it could not send for a while."""
        for _ in range(order["bytes"] // 65536):
            if not select.select([], [self.connection.sock], [], 0.3)[1]:
                self.mark(order["blocked"])
            self.raw(b"x" * 65536)

    def wait(self, path):
        while not os.path.exists(path):
            time.sleep(0.005)

    def mark(self, path):
        pathlib.Path(path).touch()

    def silence(self, mark):
        """Says nothing until the connection is closed."""
        select.select([self.connection.sock], [], [])
        self.mark(mark)
        raise Over

    def endless(self, mark):
        """Sends until the connection is closed."""
        try:
            while True:
                self.raw(b"x" * 65536)
        except OSError:
            self.mark(mark)
            raise Over

    def fail(self, message):
        body = base64.b64encode(json.dumps({"errorType": "Bug", "errorMessage": message}).encode())
        self.end(b"Lambda-Runtime-Function-Error-Type: Bug\\r\\nLambda-Runtime-Function-Error-Body: %s\\r\\n" % body)
        raise Over

    def error(self, message):
        """Fails before the answer has begun."""
        report = json.dumps({"errorType": "Bug", "errorMessage": message})
        self.connection.request("POST", ROOT + self.request_id + "/error", report)
        self.connection.getresponse().read()
        raise Over

    def exit(self, status):
        os._exit(status)

    def hang_up(self, _):
        raise Over

    def end(self, trailers=b""):
        self.connection.send(b"0\\r\\n" + trailers + b"\\r\\n")
        print("the answer was taken with", self.connection.getresponse().status, flush=True)

print("started for", os.environ["_HANDLER"], "in", os.environ["LAMBDA_TASK_ROOT"], flush=True)
while True:
    asking = http.client.HTTPConnection(API)
    asking.request("GET", ROOT + "next")
    answer = asking.getresponse()
    event = json.loads(answer.read())
    stream = Stream(answer.headers["Lambda-Runtime-Aws-Request-Id"])
    try:
        for step, argument in json.loads(event["body"]):
            getattr(stream, step)(argument)
        stream.end()
    except Over:
        pass
    stream.connection.close()
'''
WRAPPER = """#!/bin/sh
exec "$1" "${0%/*}/runtime.py"
"""

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Handed: {Type: String, Default: from the template}
Globals:
  Function:
    Handler: app.handler
    Timeout: 20
    MemorySize: 256
    Environment:
      Variables: {FIXED: from the template, HANDED: !Ref Handed, TABLE: !Ref Table}
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: prod
      BinaryMediaTypes: [image/png]
      GatewayResponses:
        MISSING_AUTHENTICATION_TOKEN:
          StatusCode: 404
          ResponseTemplates: {application/json: '{"id": "$context.requestId", "m": $context.error.messageString}'}
          ResponseParameters: {Headers: {x-request-id: context.requestId}}
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      TimeToLiveSpecification: {AttributeName: expires, Enabled: true}
  Jobs:
    Type: AWS::SQS::Queue
    Properties: {RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 2}}
  Dead: {Type: AWS::SQS::Queue}
  Acting:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: acting
      Events:
        Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /act, Method: ANY}}
        One: {Type: Api, Properties: {RestApiId: !Ref Api, Path: "/things/{id}", Method: GET}}
        Deep: {Type: Api, Properties: {RestApiId: !Ref Api, Path: "/deep/{rest+}", Method: GET}}
        Hurried: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /hurried, Method: POST, TimeoutInMillis: 300}}
        Streamed:
          Type: Api
          Properties: {RestApiId: !Ref Api, Path: /act-streamed, Method: ANY, ResponseTransferMode: RESPONSE_STREAM}
  StreamingRuntime: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: runtime}}
  Streaming:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: streaming
      Layers: [!Ref StreamingRuntime]
      Environment: {Variables: {AWS_LAMBDA_EXEC_WRAPPER: /opt/stream}}
      Events:
        Streamed:
          Type: Api
          Properties:
            {RestApiId: !Ref Api, Path: /stream, Method: ANY, ResponseTransferMode: RESPONSE_STREAM, TimeoutInMillis: 60000}
        Hurried:
          Type: Api
          Properties:
            {RestApiId: !Ref Api, Path: /stream-hurried, Method: ANY, ResponseTransferMode: RESPONSE_STREAM, TimeoutInMillis: 700}
        Buffered: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /stream-buffered, Method: ANY}}
  BriefStreaming:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: brief-streaming
      Timeout: 1
      Layers: [!Ref StreamingRuntime]
      Environment: {Variables: {AWS_LAMBDA_EXEC_WRAPPER: /opt/stream}}
      Events:
        Any:
          Type: Api
          Properties: {RestApiId: !Ref Api, Path: /stream-brief, Method: ANY, ResponseTransferMode: RESPONSE_STREAM}
  Single:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: acting
      ReservedConcurrentExecutions: 1
      Events:
        Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /single, Method: ANY}}
  Brief:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: acting
      Timeout: 1
      Events:
        Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /brief, Method: ANY}}
  Broken:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: broken
      Events:
        Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /broken, Method: ANY}}
  Often:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: often
      Handler: app.scheduled
      Events:
        Every: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute)}}
"""

BROKEN = 'raise RuntimeError("this module cannot be imported")\n'
OFTEN = ACTING.replace("def scheduled(event, order)", "def scheduled(event, context)")


@pytest.fixture(scope="session")
def acting_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's file, with the functions' code beside it."""
    folder = tmp_path_factory.mktemp("acting")
    code = {"acting": ACTING, "broken": BROKEN, "often": OFTEN, "streaming": "", "brief-streaming": ""}
    for name, text in code.items():
        (folder / name).mkdir()
        (folder / name / "app.py").write_text(text)
    (folder / "runtime").mkdir()
    (folder / "runtime" / "runtime.py").write_text(STREAMING)
    (folder / "runtime" / "stream").write_text(WRAPPER)
    (folder / "runtime" / "stream").chmod(0o755)
    template = folder / "template.yaml"
    template.write_text(dedent(TEMPLATE))
    return template


@pytest.fixture(scope="package")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for functions to leave marks in."""
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="package")
def shared_mark() -> str:
    """What the shared stack's processes have in their environment, as STACK_MARK."""
    return f"{os.getpid()}-shared"


@pytest.fixture(scope="package")
def stack(acting_template: Path, marks: Path, shared_mark: str) -> Iterator[RunningStack]:
    """One stack for all tests of the package; each leaves it able to serve the next."""
    env = {
        "FIXED": "from the user",
        "HANDED": "from the user",
        "USERS_OWN": "kept",
        "MARKS": str(marks),
        "STACK_MARK": shared_mark,
    }
    with running_stack(template=acting_template, schedules=True, env=env) as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> Iterator[httpx.Client]:
    """An HTTP client of the stack's API."""
    with httpx.Client(base_url=stack.base_url, timeout=40, trust_env=False) as made:
        yield made
