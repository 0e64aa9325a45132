"""Checks values of a template's parameters as CloudFormation does, before it makes anything.

A value must satisfy its parameter's constraints, and all values together the template's Rules. A message never has the
value, which may be a secret that was given by mistake.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation

from local_stack.cloudformation import Node, Resolver, as_text


def parameter_faults(document: Mapping[str, Node], given: Mapping[str, str]) -> Iterator[str]:
    """Yields why CloudFormation would refuse the template `document` with the values `given`; the others have their
    defaults. The Rules are only checked where each single value is valid.
    """
    defined = document.get("Parameters") or {}
    wrong = {name: fault for name, value in given.items() if (fault := _fault(defined[name], value))}
    yield from (f"{name}: {fault}" for name, fault in wrong.items())
    if not wrong:
        yield from _broken_rules(document, given)


def _fault(definition: Mapping[str, Node], value: str) -> str | None:
    """Returns what the value must be, if it is not: in the words of the template, where it has some."""
    for constraint, is_met in _CONSTRAINTS.items():
        if constraint in definition and not is_met(definition[constraint], value, definition):
            described = definition.get("ConstraintDescription")
            return f"must be {described}" if described else _expected(constraint, definition[constraint])
    if definition.get("Type") == "Number" and _number(value) is None:
        return "must be a number"
    return None


def _expected(constraint: str, wanted: Node) -> str:
    if isinstance(wanted, list):
        return f"must be one of {', '.join(map(as_text, wanted))}"
    return f"must satisfy {constraint} {as_text(wanted)}"


def _is_allowed(allowed: Node, value: str, _: Mapping[str, Node]) -> bool:
    return value in map(as_text, allowed)


def _matches(pattern: Node, value: str, definition: Mapping[str, Node]) -> bool:
    """A list must match with each of its items."""
    items = value.split(",") if definition.get("Type") == "CommaDelimitedList" else [value]
    return all(re.fullmatch(pattern, item) for item in items)


def _is_at_least(limit: Node, value: str, _: Mapping[str, Node]) -> bool:
    number = _number(value)
    return number is not None and number >= Decimal(as_text(limit))


def _is_at_most(limit: Node, value: str, _: Mapping[str, Node]) -> bool:
    number = _number(value)
    return number is not None and number <= Decimal(as_text(limit))


def _is_long_enough(length: Node, value: str, _: Mapping[str, Node]) -> bool:
    return len(value) >= int(length)


def _is_short_enough(length: Node, value: str, _: Mapping[str, Node]) -> bool:
    return len(value) <= int(length)


def _number(value: str) -> Decimal | None:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# The constraint's value, the parameter's value and the parameter's definition → whether the constraint is met.
_CONSTRAINTS: dict[str, Callable[[Node, str, Mapping[str, Node]], bool]] = {
    "AllowedValues": _is_allowed,
    "AllowedPattern": _matches,
    "MinValue": _is_at_least,
    "MaxValue": _is_at_most,
    "MinLength": _is_long_enough,
    "MaxLength": _is_short_enough,
}


def _broken_rules(document: Mapping[str, Node], given: Mapping[str, str]) -> Iterator[str]:
    resolver = Resolver(document, attributes={}, pseudo={}, parameters=given)
    for name, rule in (document.get("Rules") or {}).items():
        where = f"Rules.{name}"
        if not resolver.value(rule.get("RuleCondition", True), where):
            continue
        for assertion in rule["Assertions"]:
            if not resolver.value(assertion["Assert"], where):
                yield str(assertion.get("AssertDescription") or f"the template's rule {name} is not met")
