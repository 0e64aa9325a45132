"""Translates genai-prices' match clauses to the snapshot's rules. All but regular expressions match in lower case."""

from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
)

from sekha_llm_bridge.pricing.snapshot import Rule


def rule_of(clause: MatchLogic) -> Rule:
    """Returns the clause as a rule, in its shortest form."""
    match clause:
        case ClauseEquals(equals=text):
            return text.lower()
        case ClauseStartsWith(starts_with=text):
            return {"starts": text.lower()}
        case ClauseEndsWith(ends_with=text):
            return {"ends": text.lower()}
        case ClauseContains(contains=text):
            return {"contains": text.lower()}
        case ClauseRegex(regex=text):
            return {"regex": text}
        case ClauseAnd(and_=clauses):
            return {"all": [rule_of(one) for one in clauses]}
        case ClauseOr(or_=clauses):
            return _any(clauses)
    raise ValueError(f"a kind of rule that the bridge does not support: {clause}")


def _any(clauses: list[MatchLogic]) -> Rule:
    """Returns the alternatives without duplicates. Nested lists are flattened."""
    rules = [rule_of(one) for one in clauses]
    flat = [one for rule in rules for one in (rule if isinstance(rule, list) else [rule])]
    distinct = [rule for index, rule in enumerate(flat) if rule not in flat[:index]]
    return distinct[0] if len(distinct) == 1 else distinct
