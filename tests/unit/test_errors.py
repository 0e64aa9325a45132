"""The tree of errors: complete, and each with its two decisions."""

from sekha_llm_bridge import errors


def leaves(kind: type[errors.BridgeError]) -> list[type[errors.BridgeError]]:
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in leaves(errors.BridgeError)]
    shared = {code for code in codes if codes.count(code) > 1}
    assert shared == {"invalid_request"}  # the caller's fault, whether the bridge or the provider found it


def test_the_module_draws_every_error_of_the_tree() -> None:
    assert errors.__doc__ is not None
    missing = [kind.__name__ for kind in leaves(errors.BridgeError) if kind.__name__ not in errors.__doc__]
    assert missing == []


def test_what_would_fail_everywhere_neither_moves_on_nor_counts() -> None:
    for kind in leaves(errors.ProviderError):
        assert issubclass(kind, errors.ProviderError)
        if not kind.try_next:
            assert kind.breaker is errors.BreakerEffect.NONE
