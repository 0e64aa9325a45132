"""The role's credentials: from the environment, and from Lambda's endpoint after a snapshot was restored."""

import asyncio
from datetime import timedelta

import pytest

from sekha_llm_bridge.aws.credentials import Credentials, RoleCredentials
from sekha_llm_bridge.connections import Connections
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider, Reply

PATH = "/credentials"


@pytest.fixture
def restored(fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """Lambda's endpoint for credentials, as a restored snapshot finds it."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", fake.url + PATH)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "word")
    return fake


def answer(name: str, clock: FakeClock, *, minutes: float) -> Reply:
    expires_at = (clock.now() + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    body = {"AccessKeyId": name, "SecretAccessKey": "s", "Token": "t", "Expiration": expires_at}
    return Reply(body=body)


def source(clock: FakeClock, stand_in: Credentials | None = None) -> RoleCredentials:
    return RoleCredentials(Connections(clock), clock, timeout_s=5, stand_in=stand_in)


def test_they_are_those_of_the_environment(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert asyncio.run(source(clock).get()) == Credentials("testing", "testing", "token")


def test_without_any_the_stand_in_is_used_and_none_is_an_error(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert asyncio.run(source(clock, Credentials("local", "x")).get()).access_key_id == "local"
    with pytest.raises(KeyError):
        asyncio.run(source(clock).get())


def test_lambdas_endpoint_is_asked_once_until_five_minutes_before_expiry(
    restored: FakeProvider, clock: FakeClock
) -> None:
    restored.script(PATH, answer("first", clock, minutes=20), answer("second", clock, minutes=60))

    async def names() -> list[str]:
        credentials = source(clock)
        found = [(await credentials.get()).access_key_id]
        clock.advance(14 * 60)
        found.append((await credentials.get()).access_key_id)
        clock.advance(2 * 60)
        return [*found, (await credentials.get()).access_key_id]

    assert asyncio.run(names()) == ["first", "first", "second"]
    assert [call.headers["authorization"] for call in restored.calls(PATH)] == ["word", "word"]


def test_renewed_credentials_are_new_only_if_they_differ(restored: FakeProvider, clock: FakeClock) -> None:
    first = answer("first", clock, minutes=60)
    restored.script(PATH, first, first, answer("second", clock, minutes=60))

    async def renewed() -> list[bool]:
        credentials = source(clock)
        await credentials.get()
        return [await credentials.renew(), await credentials.renew()]

    assert asyncio.run(renewed()) == [False, True]


def test_the_secret_and_the_token_are_not_shown() -> None:
    assert "very" not in repr(Credentials("id", "very-secret", "very-token"))
