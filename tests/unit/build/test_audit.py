"""What `infra/build/audit` concludes from pip-audit's report: silence is never taken for safety."""

import json

import audit


def report(*packages: dict[str, object]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


SAFE: dict[str, object] = {"name": "httpx", "version": "0.28.1", "vulns": []}
SKIPPED: dict[str, object] = {"name": "anyio", "skip_reason": "Dependency not found on PyPI"}
VULNERABLE: dict[str, object] = {
    "name": "h11",
    "version": "0.14.0",
    "vulns": [{"id": "PYSEC-2025-1", "fix_versions": ["0.16.0"], "aliases": [], "description": ""}],
}


def test_packages_without_a_known_vulnerability_give_0() -> None:
    assert audit.verdict(report(SAFE), "") == (0, "No vulnerability is known in the packages of the layers (1).")


def test_a_known_vulnerability_gives_1_and_the_version_that_fixes_it() -> None:
    code, message = audit.verdict(report(SAFE, VULNERABLE, SKIPPED), "")
    assert code == 1
    assert "h11 0.14.0: PYSEC-2025-1, fixed in 0.16.0" in message


def test_a_package_that_the_service_does_not_know_gives_3_and_not_0() -> None:
    code, message = audit.verdict(report(SAFE, SKIPPED), "No known vulnerabilities found")
    assert code == 3
    assert "did not answer for 1 of 2 packages" in message
    assert "anyio" in message


def test_a_service_that_cannot_be_reached_gives_3_and_the_reason() -> None:
    code, message = audit.verdict("", "Traceback (most recent call last):\nConnectionError: no route to host\n")
    assert code == 3
    assert message.endswith("so nothing is known. ConnectionError: no route to host")
