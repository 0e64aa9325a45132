"""genai-prices' match clauses as the snapshot has them. They compare in lower case, but for expressions."""

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
    """The clause as a rule; of several, the shortest form."""
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
    raise ValueError(f"a kind of rule that the bridge does not know: {clause}")


def _any(clauses: list[MatchLogic]) -> Rule:
    """Each once; those of nested lists come up."""
    rules = [rule_of(one) for one in clauses]
    flat = [one for rule in rules for one in (rule if isinstance(rule, list) else [rule])]
    distinct = [rule for place, rule in enumerate(flat) if rule not in flat[:place]]
    return distinct[0] if len(distinct) == 1 else distinct
