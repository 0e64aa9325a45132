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
    for name, code in {"acting": ACTING, "broken": BROKEN, "often": OFTEN}.items():
        (folder / name).mkdir()
        (folder / name / "app.py").write_text(code)
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
