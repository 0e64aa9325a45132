"""`sekha-bridge keys`, run as a user types it, on DynamoDB over HTTP."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from local_stack.stack_file import StackFile
from sekha_llm_bridge.access.caller import Caller, KeyPolicy
from sekha_llm_bridge.access.keys.dynamodb import DynamoKeyStore
from sekha_llm_bridge.access.keys.key_text import is_handle, new_key, parse_key
from sekha_llm_bridge.access.keys.record import KeyRecord, Rejection
from sekha_llm_bridge.access.keys.verifier import KeyVerifier
from sekha_llm_bridge.cli.app import app
from sekha_llm_bridge.cli.deployment import Deployment
from sekha_llm_bridge.cli.keys.options import Clearable
from sekha_llm_bridge.cli.keys.table import KeyChanged, KeyTable
from sekha_llm_bridge.clock import SystemClock
from sekha_llm_bridge.config.vocabulary import Task
from sekha_llm_bridge.connections import Connections
from tests.fakes.dynamodb import REGION, DynamoDb
from tests.fakes.provider import FakeProvider, Reply

ALL_OPTIONS = [
    *("--name", "search team", "--label", "team=search", "--label", "stage=prod", "--expires", "90d"),
    *("--model", "openai/*", "--model", "llama", "--task", "chat_small", "--task", "embedding"),
    *("--max-cost-per-request", "0.10", "--daily-usd", "5", "--monthly-usd", "50.5"),
    *("--requests-per-minute", "60", "--tokens-per-minute", "100000", "--concurrent-requests", "4"),
    *("--chroma-tenant", "acme", "--chroma-database", "search", "--no-store"),
]
POLICY = KeyPolicy(
    models=("openai/*", "llama"),
    tasks=(Task.CHAT_SMALL, Task.EMBEDDING),
    max_cost_per_request_usd=Decimal("0.10"),
    requests_per_minute=60,
    tokens_per_minute=100_000,
    concurrent_requests=4,
    daily_usd=Decimal(5),
    monthly_usd=Decimal("50.5"),
    chroma_tenant="acme",
    chroma_database="search",
    may_store=False,
)


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDb]:
    with DynamoDb() as server:
        yield server


@pytest.fixture
def table(dynamodb: DynamoDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A table of keys, which a running local stack names."""
    name = dynamodb.new_table("KeysTable")
    variables = {
        "KEYS_TABLE": name,
        "STATE_TABLE": "state",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url,
    }
    file = StackFile(tmp_path / "stacks")
    file.write(url="http://127.0.0.1:8000", chroma_url=None, state=tmp_path, variables=variables)
    monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(tmp_path / "stacks"))
    yield name
    file.remove()


def keys(*arguments: str, **environ: str) -> Any:
    return CliRunner(env={"COLUMNS": "200", **environ}).invoke(app, ["keys", *arguments])


def keys_json(*arguments: str) -> Any:
    answer = keys(*arguments, "--json")
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def verified(dynamodb: DynamoDb, table: str, text: str, monkeypatch: pytest.MonkeyPatch) -> Caller | Rejection:
    """Returns what the bridge makes of a key."""
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)

    async def verify() -> Caller | Rejection:
        connections = Connections(SystemClock())
        try:
            store = DynamoKeyStore(table, connections, SystemClock())
            return await KeyVerifier(store, SystemClock()).verify({"authorization": f"Bearer {text}"})
        finally:
            await connections.aclose()

    return asyncio.run(verify())


def stored(dynamodb: DynamoDb, table: str) -> list[Any]:
    return dynamodb.client.scan(TableName=table)["Items"]


def test_the_key_that_create_prints_is_valid_and_is_all_that_it_prints(
    dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = keys("create")
    assert answer.exit_code == 0
    text = answer.stdout.rstrip("\n")
    key = parse_key(text)
    assert key
    assert verified(dynamodb, table, text, monkeypatch) == Caller(key.key_id)
    assert f"{key.key_id}: no limits" in answer.stderr
    assert "not shown again" in answer.stderr
    assert "using the local stack at http://127.0.0.1:8000" in answer.stderr
    assert text not in answer.stderr


def test_every_option_of_create_reaches_the_caller(
    dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = datetime.now(UTC)
    made = keys_json("create", *ALL_OPTIONS)
    caller = Caller(made["id"], {"team": "search", "stage": "prod"}, POLICY)
    assert verified(dynamodb, table, made["key"], monkeypatch) == caller
    assert is_handle(made["id"])
    assert (made["name"], made["state"]) == ("search team", "valid")
    expires = datetime.fromisoformat(made["expires"])
    assert before <= expires - timedelta(days=90) <= datetime.now(UTC)


def test_every_field_of_the_policy_has_an_option() -> None:
    assert all(getattr(POLICY, name) != default for name, default in KeyPolicy._field_defaults.items())
    assert len(Clearable) == len(KeyPolicy._fields) - 1 + len(("name", "label", "expires"))  # --store resets --no-store


def test_the_table_and_later_commands_have_no_secret(dynamodb: DynamoDb, table: str) -> None:
    text = keys("create", "--name", "a").stdout.strip()
    secret = text.split("-")[3]
    later = [keys("list"), keys("list", "--json"), keys("show", "a"), keys("show", "a", "--json")]
    assert all(answer.exit_code == 0 for answer in later)
    assert secret not in str(stored(dynamodb, table)) + "".join(answer.output for answer in later)


def test_list_shows_the_keys_from_the_oldest_with_state_labels_and_limits(dynamodb: DynamoDb, table: str) -> None:
    first = keys_json("create", "--name", "first", "--label", "team=a", "--daily-usd", "5", "--expires", "1d")
    second = keys_json("create", "--name", "second")
    keys("revoke", "second")
    listed = keys("list").stdout.splitlines()
    assert listed[0].split() == ["key", "name", "state", "labels", "limits", "created"]
    assert [line.split()[0] for line in listed[1:]] == [first["id"], second["id"]]
    assert "valid until" in listed[1]
    assert "team=a" in listed[1]
    assert "budget per day $5" in listed[1]
    assert "revoked at" in listed[2]
    assert [one["state"] for one in keys_json("list")] == ["valid", "revoked"]
    assert "key" not in keys_json("list")[0]


def test_more_keys_than_a_page_are_listed(dynamodb: DynamoDb, table: str) -> None:
    long = "x" * 100
    for _ in range(30):
        key = new_key()
        record = KeyRecord(key.key_id, key.digest, long, datetime.now(UTC), labels={long: long * 400})
        dynamodb.client.put_item(TableName=table, Item=record.as_attributes())
    dynamodb.requests.clear()
    assert len(keys_json("list")) == 30
    assert len([one for one in dynamodb.requests if one.action == "Scan"]) > 1


def test_an_empty_table_is_said_to_be_empty(table: str) -> None:
    answer = keys("list")
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "there is no key: make one with `sekha-bridge keys create`" in answer.stderr
    assert keys_json("list") == []


def test_show_has_every_limit_of_a_key(table: str) -> None:
    made = keys_json("create", *ALL_OPTIONS)
    shown = keys("show", made["id"]).stdout
    for text in ("search team", "team=search, stage=prod", "openai/*, llama", "$0.1", "$5", "$50.5", "100,000", "acme"):
        assert text in shown
    assert "not allowed" in shown
    assert keys_json("show", made["id"]) == {name: value for name, value in made.items() if name != "key"}


def test_a_key_is_found_by_its_handle_its_name_and_its_text(table: str) -> None:
    made = keys_json("create", "--name", "the app")
    assert {keys_json("show", one)["id"] for one in (made["id"], "the app", made["key"])} == {made["id"]}


def test_a_name_that_several_keys_have_is_refused_with_their_handles(table: str) -> None:
    ids = sorted(keys_json("create", "--name", "twice")["id"] for _ in range(2))
    answer = keys("revoke", "twice")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert f"2 keys have the name twice: name one of {ids[0]}, {ids[1]}" in answer.stderr


@pytest.mark.parametrize("command", [["show"], ["rotate"], ["revoke"], ["update", "--daily-usd", "1"]])
@pytest.mark.parametrize("reference", ["nobody", new_key().key_id])
def test_an_unknown_key_exits_with_1_and_writes_nothing(
    dynamodb: DynamoDb, table: str, command: list[str], reference: str
) -> None:
    answer = keys(*command, reference)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "`sekha-bridge keys list`" in answer.stderr
    assert stored(dynamodb, table) == []


@pytest.mark.parametrize("form", ['"{}"', "Bearer {}", "bearer '{}' ", '"Authorization: Bearer {}"'])
def test_a_key_is_found_by_its_text_as_it_was_copied(table: str, form: str) -> None:
    made = keys_json("create")
    assert keys_json("show", form.format(made["key"]))["id"] == made["id"]


@pytest.mark.parametrize(
    ("change", "form"),
    [
        (lambda text: text[:-1], "{}"),
        (str.upper, "{}"),
        (str.swapcase, "Bearer {}"),
        (str, "key={}"),
        (str, "x-api-key: {}x"),
        (str, "\u201c{}\u201d"),
    ],
)
def test_a_mistyped_key_is_not_repeated_on_the_terminal(table: str, change: Callable[[str], str], form: str) -> None:
    text = change(new_key().text)
    answer = keys("revoke", form.format(text))
    assert answer.exit_code == 1
    assert text[25:50] not in answer.output
    assert "that was given" in answer.stderr


def test_update_changes_only_what_is_named_and_adds_labels(
    dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = keys_json("create", *ALL_OPTIONS)
    shown = keys_json("update", made["id"], "--daily-usd", "7", "--label", "team=new", "--model", "gpt", "--store")
    policy = POLICY._replace(daily_usd=Decimal(7), models=("gpt",), may_store=True)
    caller = Caller(made["id"], {"team": "new", "stage": "prod"}, policy)
    assert verified(dynamodb, table, made["key"], monkeypatch) == caller
    assert (shown["name"], shown["expires"]) == (made["name"], made["expires"])


def test_update_clears_everything(dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = keys_json("create", *ALL_OPTIONS)
    clear = [part for option in Clearable for part in ("--clear", option.value)]
    shown = keys_json("update", made["id"], *clear, "--store")
    assert verified(dynamodb, table, made["key"], monkeypatch) == Caller(made["id"])
    assert (shown["name"], shown["labels"], shown["expires"]) == ("", {}, None)


def test_update_clears_before_it_sets(table: str) -> None:
    made = keys_json("create", "--label", "a=1", "--label", "b=2")
    assert keys_json("update", made["id"], "--clear", "label", "--label", "c=3")["labels"] == {"c": "3"}


def test_an_expired_key_is_valid_again_when_its_expiry_is_moved(table: str, dynamodb: DynamoDb) -> None:
    made = keys_json("create", "--expires", "1d")
    past = {"S": datetime(2020, 1, 1, tzinfo=UTC).isoformat()}
    dynamodb.client.put_item(TableName=table, Item={**stored(dynamodb, table)[0], "expires": past})
    assert keys_json("show", made["id"])["state"] == "expired"
    assert keys("rotate", made["id"]).exit_code == 1
    assert keys_json("update", made["id"], "--expires", "1d")["state"] == "valid"


@pytest.mark.parametrize("command", [["rotate"], ["update", "--daily-usd", "1"]])
def test_a_revoked_key_can_be_neither_rotated_nor_changed(dynamodb: DynamoDb, table: str, command: list[str]) -> None:
    made = keys_json("create")
    keys("revoke", made["id"])
    before = stored(dynamodb, table)
    answer = keys(*command, made["id"])
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert f"{made['id']} is revoked: make a new key" in answer.stderr
    assert stored(dynamodb, table) == before


def test_rotate_ends_the_old_key(dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = keys_json("create", *ALL_OPTIONS)
    answer = keys("rotate", old["id"])
    new = answer.stdout.strip()
    assert verified(dynamodb, table, new, monkeypatch) == Caller(old["id"], {"team": "search", "stage": "prod"}, POLICY)
    assert verified(dynamodb, table, old["key"], monkeypatch) is Rejection.UNKNOWN
    assert "the old key ends within a minute" in answer.stderr


def test_rotate_keeps_the_old_key_for_the_given_time(
    dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keys_json("create")
    new = keys_json("rotate", old["id"], "--keep-old", "24h")
    assert new["id"] == old["id"]
    for text in (old["key"], new["key"]):
        assert verified(dynamodb, table, text, monkeypatch) == Caller(old["id"])
    end = datetime.fromisoformat(new["old_key_valid_until"])
    assert timedelta(hours=23, minutes=59) < end - datetime.now(UTC) <= timedelta(hours=24)
    assert "its old key  valid until" in keys("show", old["id"]).stdout


def test_a_second_rotation_ends_the_key_before_the_last_one(
    dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keys_json("create")
    second = keys_json("rotate", first["id"], "--keep-old", "7d")
    keys_json("rotate", first["id"], "--keep-old", "1h")
    assert verified(dynamodb, table, first["key"], monkeypatch) is Rejection.UNKNOWN
    assert verified(dynamodb, table, second["key"], monkeypatch) == Caller(first["id"])


def test_revoke_ends_several_keys_with_their_old_texts(
    dynamodb: DynamoDb, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = keys_json("create"), keys_json("create", "--name", "second")
    rotated = keys_json("rotate", first["id"], "--keep-old", "7d")
    revoked = keys_json("revoke", first["id"], "second")
    assert [one["id"] for one in revoked] == [first["id"], second["id"]]
    for text in (first["key"], rotated["key"], second["key"]):
        assert verified(dynamodb, table, text, monkeypatch) is Rejection.REVOKED


def test_revoking_again_keeps_the_first_moment(table: str) -> None:
    made = keys_json("create")
    assert keys_json("revoke", made["id"]) == keys_json("revoke", made["id"])


@pytest.mark.parametrize("unknown", ["nobody", new_key().key_id, new_key().text], ids=["name", "handle", "text"])
def test_an_unknown_key_among_several_revokes_none(table: str, unknown: str) -> None:
    made = keys_json("create")
    assert keys("revoke", made["id"], unknown).exit_code == 1
    assert keys_json("show", made["id"])["state"] == "valid"


def test_a_key_of_another_version_is_listed_and_can_be_revoked_but_not_changed(dynamodb: DynamoDb, table: str) -> None:
    made = keys_json("create")
    item = {**stored(dynamodb, table)[0], "policy": {"S": '{"moon_phase": "full"}'}}
    dynamodb.client.put_item(TableName=table, Item=item)
    assert keys_json("list") == [{"id": made["id"], "state": "unreadable"}]
    assert "written by another version of the bridge" in keys("list").stdout
    for command in (["show"], ["update", "--daily-usd", "1"], ["rotate"]):
        answer = keys(*command, made["id"])
        assert answer.exit_code == 1
        assert "update this one" in answer.stderr
    assert keys("revoke", made["id"]).exit_code == 0
    assert stored(dynamodb, table)[0].keys() == item.keys() | {"revoked"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--daily-usd", "much"], "'much' is not an amount in USD"),
        (["--max-cost-per-request", "-1"], "is not an amount in USD"),
        (["--requests-per-minute", "0"], "greater than or equal to 1"),
        (["--task", "poetry"], "--task: 'poetry' is none of chat_small"),
        (["--model", " "], "--model: the value is empty"),
        (["--name", "a\x1b[2Jb"], "--name: the value needs at most 100 printable characters"),
        (["--name", "n" * 101], "--name: the value needs at most 100 printable characters"),
        (["--chroma-database", "../other"], "--chroma-database: '../other' needs three to 512 letters"),
        (["--chroma-tenant", "t"], "--chroma-tenant: 't' needs three to 512 letters"),
        (["--label", "team"], "--label: 'team' is not NAME=VALUE"),
        (["--label", "=search"], "is not NAME=VALUE"),
        ([part for number in range(21) for part in ("--label", f"l{number}=1")], "at most 20 labels"),
        (["--expires", "soon"], "--expires: 'soon' is neither a time such as"),
        (["--expires", "2020-01-01"], "--expires: '2020-01-01' is not in the future"),
        (["--expires", "0d"], "is not in the future"),
        (["--expires", "9999-12-31T23:59-23:59"], "is neither a time"),
        ([part for number in range(200) for part in ("--model", f"provider/model-{number:020}")], "larger than 4096"),
    ],
)
def test_an_invalid_option_exits_with_2_before_anything_is_asked_of_aws(options: list[str], message: str) -> None:
    for command in (["create"], ["update", "key"]):
        answer = keys(*command, *options)  # no stack runs
        assert (answer.exit_code, answer.stdout) == (2, "")
        assert message in " ".join(answer.stderr.split())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["update", "key"], "nothing to change: give an option"),
        (["rotate", "key", "--keep-old", "long"], "--keep-old: 'long' is not a time"),
    ],
)
def test_an_update_without_options_and_a_wrong_time_to_keep_exit_with_2(command: list[str], message: str) -> None:
    answer = keys(*command)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert message in answer.stderr


def test_a_change_that_makes_a_key_too_large_is_refused(table: str) -> None:
    many = [part for number in range(100) for part in ("--model", f"provider/model-{number:020}")]
    made = keys_json("create", *many)
    labels = [part for number in range(20) for part in ("--label", f"{number}={'x' * 60}")]
    answer = keys("update", made["id"], *labels)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "larger than 4096 bytes" in answer.stderr
    assert keys_json("show", made["id"])["labels"] == {}


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2999-12-31", datetime(2999, 12, 31, tzinfo=UTC)),
        ("2999-12-31T18:00+01:00", datetime(2999, 12, 31, 17, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_date_in_utc_or_in_a_time_zone(table: str, text: str, end: datetime) -> None:
    assert datetime.fromisoformat(keys_json("create", "--expires", text)["expires"]) == end


def test_a_change_between_read_and_write_is_not_overwritten(dynamodb: DynamoDb, table: str) -> None:
    made = keys_json("create")
    keys_of_stack = KeyTable(Deployment("test", table, "state", dynamodb.client))
    before = keys_of_stack.read(made["id"])
    rotated = before.rotated(new_key(made["id"]), keep_until=None)
    keys_of_stack.replace(before, rotated)
    keys_of_stack.replace(before, before._replace(name="other"))  # another attribute: both changes are kept
    assert keys_of_stack.read(made["id"]) == rotated._replace(name="other")
    with pytest.raises(KeyChanged):
        keys_of_stack.replace(before, before.rotated(new_key(made["id"]), keep_until=None))
    assert keys_of_stack.read(made["id"]) == rotated._replace(name="other")


def test_a_key_that_is_revoked_between_read_and_write_is_neither_rotated_nor_changed(
    dynamodb: DynamoDb, table: str
) -> None:
    made = keys_json("create")
    keys_of_stack = KeyTable(Deployment("test", table, "state", dynamodb.client))
    before = keys_of_stack.read(made["id"])
    keys_of_stack.revoke(made["id"], datetime.now(UTC))
    revoked = keys_of_stack.read(made["id"])
    for after in (before.rotated(new_key(made["id"]), keep_until=None), before._replace(name="other")):
        with pytest.raises(KeyChanged):
            keys_of_stack.replace(before, after)
    assert keys_of_stack.read(made["id"]) == revoked
    keys_of_stack.replace(revoked, revoked._replace(name="other"))
    assert keys_of_stack.read(made["id"]) == revoked._replace(name="other")


def test_without_a_running_stack_the_command_says_how_to_name_one(tmp_path: Path) -> None:
    answer = keys("create", SEKHA_LOCAL_STACKS=str(tmp_path))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "start one with `sekha-bridge up`, or name a deployed one with --stack" in answer.stderr


def test_a_stack_of_an_older_version_is_refused(tmp_path: Path) -> None:
    file = StackFile(tmp_path)
    file.write(url="http://127.0.0.1:8000", chroma_url=None, state=tmp_path, variables={"STATE_TABLE": "state"})
    answer = keys("list", SEKHA_LOCAL_STACKS=str(tmp_path))
    file.remove()
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "is of an older version" in answer.stderr


def test_a_deployed_stack_is_found_by_its_name(
    dynamodb: DynamoDb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEKHA_LOCAL_STACKS", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", dynamodb.url)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    table = {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        },
    }
    outputs = {"KeysTableName": {"Value": {"Ref": "Keys"}}, "StateTableName": {"Value": "state"}}
    parameters = {"AuthMode": {"Type": "String", "Default": "keys"}}
    cloudformation = boto3.client("cloudformation", region_name="eu-central-1")
    template = json.dumps({"Parameters": parameters, "Resources": {"Keys": table}, "Outputs": outputs})
    cloudformation.create_stack(StackName="my-bridge", TemplateBody=template)
    nobody = [{"ParameterKey": "AuthMode", "ParameterValue": "none"}]
    cloudformation.create_stack(StackName="open-bridge", TemplateBody=template, Parameters=nobody)
    other = {"Resources": {"Keys": table}}
    cloudformation.create_stack(StackName="other", TemplateBody=json.dumps(other))

    made = keys("create", "--name", "deployed", "--stack", "my-bridge")
    assert (made.exit_code, bool(parse_key(made.stdout.strip()))) == (0, True)
    assert "using stack my-bridge" in made.stderr
    assert "without a key" not in made.stderr
    assert "this bridge accepts requests without a key" in keys("create", "--stack", "open-bridge").stderr
    assert "deployed" in keys("list", SEKHA_BRIDGE_STACK="my-bridge").stdout
    refused = keys("list", "--stack", "other")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "stack other has no output KeysTableName: it is not this bridge" in refused.stderr
    missing = keys("list", "--stack", "nowhere")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert "stack nowhere" in missing.stderr


def test_a_missing_region_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    answer = keys("list", "--stack", "my-bridge")
    assert answer.exit_code == 3
    assert "stack my-bridge: set AWS_REGION to its region" in answer.stderr


def test_a_table_that_refuses_the_request_exits_with_3(fake: FakeProvider, table: str, tmp_path: Path) -> None:
    fake.always("/", Reply(400, {"__type": "x#AccessDeniedException", "Message": "not authorized to do this"}))
    variables = {"KEYS_TABLE": "k", "STATE_TABLE": "s", "AWS_REGION": REGION, "AWS_ENDPOINT_URL_DYNAMODB": fake.url}
    file = StackFile(tmp_path / "other")
    file.write(url="http://127.0.0.1:1", chroma_url=None, state=tmp_path, variables=variables)
    answer = keys("create", SEKHA_LOCAL_STACKS=str(tmp_path / "other"))
    file.remove()
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "the table of keys of the local stack at http://127.0.0.1:1" in answer.stderr
    assert "AccessDeniedException" in answer.stderr


def test_a_missing_boto3_is_named_with_the_command_that_installs_it() -> None:
    program = "import sys; sys.modules['boto3'] = None\nfrom sekha_llm_bridge.cli import main; main()"
    command = [sys.executable, "-c", program, "keys", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "needs the package boto3: pip install 'sekha-llm-bridge[aws]'\n" in answer.stderr
