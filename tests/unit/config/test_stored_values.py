"""How many calls are made for stored values, and which failures are for good."""

import ssl
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from sekha_llm_bridge.config.aws_secrets import AwsSecrets
from sekha_llm_bridge.config.references import AwsReference
from sekha_llm_bridge.config.secret_cache import SecretCache
from sekha_llm_bridge.config.secret_source import SecretNotFetched, SecretUnavailable
from tests.fakes.secret_stores import SecretStores

PARAMETERS = [AwsReference("ssm", f"/sekha/p{n}") for n in range(12)]
SECRETS = [AwsReference("secretsmanager", f"sekha/s{n}") for n in range(3)]


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretStores]:
    with SecretStores({one.name: f"value of {one.name}" for one in (*PARAMETERS, *SECRETS)}) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_fifteen_values_take_three_calls(stores: SecretStores) -> None:
    found = AwsSecrets().fetch([*PARAMETERS, *SECRETS])
    assert found == {one: f"value of {one.name}" for one in (*PARAMETERS, *SECRETS)}
    assert Counter((action, len(names)) for action, names in stores.calls) == {
        ("GetParameters", 10): 1,
        ("GetParameters", 2): 1,
        ("BatchGetSecretValue", 3): 1,
    }


def test_calls_have_the_protocol_of_their_service(stores: SecretStores) -> None:
    AwsSecrets().fetch([PARAMETERS[0], SECRETS[0]])
    targets = {headers["x-amz-target"] for headers in stores.headers}
    assert targets == {"AmazonSSM.GetParameters", "secretsmanager.GetSecretValue"}
    assert {headers["content-type"] for headers in stores.headers} == {"application/x-amz-json-1.1"}


def test_a_parameter_that_may_not_be_read_does_not_keep_the_others_from_being_read(stores: SecretStores) -> None:
    stores.denied.add("/sekha/p3")
    found = AwsSecrets().fetch(PARAMETERS[:5])
    assert type(found[PARAMETERS[3]]) is SecretUnavailable
    assert "access is denied" in str(found[PARAMETERS[3]])
    assert all(found[one] == f"value of {one.name}" for one in PARAMETERS[:5] if one != PARAMETERS[3])
    assert {action for action, _ in stores.calls} == {"GetParameters"}, "the only action that the role has"


def test_absent_and_denied_secrets_are_told_apart_in_one_call(stores: SecretStores) -> None:
    stores.denied.add("sekha/s0")
    del stores.values["sekha/s1"]
    found = AwsSecrets().fetch(SECRETS)
    assert "access is denied" in str(found[SECRETS[0]])
    assert "it does not exist" in str(found[SECRETS[1]])
    assert found[SECRETS[2]] == "value of sekha/s2"
    assert [action for action, _ in stores.calls] == ["BatchGetSecretValue"]


def test_without_the_permission_for_batches_each_secret_is_read_alone(stores: SecretStores) -> None:
    stores.denied.add("BatchGetSecretValue")
    assert AwsSecrets().fetch(SECRETS) == {one: f"value of {one.name}" for one in SECRETS}


@pytest.mark.parametrize("error", ["ThrottlingException", "InternalServerError", "ExpiredTokenException"])
def test_a_failure_that_may_be_over_is_followed_by_one_more_attempt(stores: SecretStores, error: str) -> None:
    stores.failures.append(error)
    assert AwsSecrets().fetch(PARAMETERS[:1]) == {PARAMETERS[0]: "value of /sekha/p0"}
    assert len(stores.calls) == 2


@pytest.mark.parametrize("error", ["ThrottlingException", "InternalServerError", "ExpiredTokenException", "Whatever"])
def test_a_value_that_the_store_did_not_give_now_is_not_fetched(stores: SecretStores, error: str) -> None:
    stores.failing = error
    found = AwsSecrets().fetch([PARAMETERS[0], SECRETS[0]])
    assert {type(one) for one in found.values()} == {SecretNotFetched}
    assert not any("123456789012" in str(one) for one in found.values())


def test_an_answer_of_a_proxy_says_nothing_about_a_secret(stores: SecretStores) -> None:
    stores.html = True
    assert isinstance(AwsSecrets().fetch(PARAMETERS[:1])[PARAMETERS[0]], SecretNotFetched)


def test_a_value_stays_in_use_when_the_store_fails_later(stores: SecretStores) -> None:
    """Also when it is denied or deleted: what may be wrong with the store is no reason to stop what works."""
    cache, one = SecretCache(AwsSecrets), PARAMETERS[0]
    cache.fetch([one])
    for failure in ("ThrottlingException", "AccessDeniedException"):
        stores.failing = failure
        cache.fetch([one], fresh=True)
        assert cache.fetch([one]) == {one: "value of /sekha/p0"}
        assert cache.outdated == {one}
    stores.failing, stores.values[one.name] = None, "new"
    assert cache.fetch([one], fresh=True) == {one: "new"}
    assert (cache.outdated, cache.failed) == (frozenset(), frozenset())


def test_a_secret_named_by_a_part_of_its_arn_is_not_mistaken_for_another_with_a_longer_name(
    stores: SecretStores,
) -> None:
    start = "arn:aws:secretsmanager:us-east-1:123456789012:secret:sekha/s1"
    short, long = AwsReference("secretsmanager", start), AwsReference("secretsmanager", f"{start}-eu")
    rows = [{"ARN": f"{start}-eu-AbCdEf", "SecretString": "long"}, {"ARN": f"{start}-AbCdEf", "SecretString": "short"}]
    stores.scripted = {"SecretValues": rows}
    assert AwsSecrets().fetch([short, long]) == {short: "short", long: "long"}


@pytest.mark.parametrize("answer", [{"Parameters": [{"Name": "/sekha/p0"}]}, {"Parameters": [None]}, {"Name": "x"}])
def test_a_malformed_answer_is_a_value_that_is_not_fetched(stores: SecretStores, answer: dict[str, Any]) -> None:
    stores.scripted = answer if "Parameters" in answer else {"SecretValues": [{"Name": SECRETS[0].name}]}
    wanted = PARAMETERS[:2] if "Parameters" in answer else SECRETS[:2]
    found = AwsSecrets().fetch(wanted)
    assert {type(one) for one in found.values()} == {SecretNotFetched}
    assert not any("credentials" in str(one) for one in found.values())


def test_without_trusted_certificates_values_are_not_fetched_and_nothing_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> ssl.SSLContext:
        raise FileNotFoundError("no certificates")

    monkeypatch.setattr("ssl.create_default_context", fail)
    for name in ("AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    found = AwsSecrets().fetch(PARAMETERS[:1])
    assert {type(one) for one in found.values()} == {SecretNotFetched}
