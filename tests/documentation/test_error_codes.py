"""The table of error codes in `functions/README.md` has every code of the bridge and of API Gateway, with its statuses."""

import re
from collections.abc import Iterator

from sekha_llm_bridge import errors
from sekha_llm_bridge.errors import BridgeError, FailureKind, ProviderError
from tests.documentation.blocks import ROOT

_TEMPLATE = (ROOT / "template.yaml").read_text(encoding="utf-8")
_GATEWAY_ANSWER = re.compile(r'StatusCode: (\d{3})\n(?:(?!StatusCode).)*?"code": "(\w+)"', re.DOTALL)
_STATUSES_OF_A_FAILED_FUNCTION = (("internal_error", 502),)  # API Gateway's own, which DEFAULT_5XX keeps
_ROW = re.compile(r"^\| `(\w+)` \| ([\d, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)


def _documented() -> dict[str, set[int]]:
    page = (ROOT / "functions" / "README.md").read_text(encoding="utf-8")
    table = page.partition("<!-- errors: begin -->")[2].partition("<!-- errors: end -->")[0]
    rows = _ROW.findall(table)
    assert len(rows) == len({row[0] for row in rows}) == table.count("\n") - 3
    return {code: {int(status) for status in statuses.split(",")} for code, statuses, *_ in rows}


def _of_the_code() -> set[tuple[str, int]]:
    found = {(one.code, one.status) for one in _errors_for_callers(BridgeError)}
    found |= {(kind.code, kind.status) for kind in FailureKind}
    found |= {(FailureKind.REQUEST_REJECTED.code, status) for status in errors._STATUSES_OF_CALLER}
    found |= {(code, int(status)) for status, code in _GATEWAY_ANSWER.findall(_TEMPLATE)}
    return found | set(_STATUSES_OF_A_FAILED_FUNCTION)


def _errors_for_callers(error: type[BridgeError]) -> Iterator[type[BridgeError]]:
    """Yields an error and all below it that the bridge sends: without those that only group others, and without those
    of the client.
    """
    below = [one for one in error.__subclasses__() if one.__module__ == errors.__name__]
    if error is not ProviderError and ("code" in vars(error) or not below):
        yield error
    for one in below:
        yield from _errors_for_callers(one)


def test_every_code_is_in_the_table_with_its_statuses() -> None:
    documented = _documented()
    assert sorted(one for one in _of_the_code() if one[1] not in documented.get(one[0], set())) == []


def test_the_table_has_no_other_code_or_status() -> None:
    documented = {(code, status) for code, statuses in _documented().items() for status in statuses}
    assert sorted(documented - _of_the_code()) == []
