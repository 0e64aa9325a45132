"""What holds for every request, whatever the providers do: the limit, the plan, the deadline."""

from decimal import Decimal
from itertools import groupby

from hypothesis import event, given, settings

from sekha_llm_bridge.errors import BridgeError
from sekha_llm_bridge.execution import ExecutionResult
from tests.property.worlds import World, tight_worlds, worlds

thorough = settings(max_examples=400)


@thorough
@given(worlds | tight_worlds)
def test_the_billed_cost_never_exceeds_the_limit(world: World) -> None:
    result = world.run_plan()
    limits = [limit for limit in (world.limit_usd, world.request.max_cost_usd) if limit is not None]
    if limits:
        event(f"limited, {len(world.called)} calls")
        assert world.billed_usd <= min(limits)
    if isinstance(result, ExecutionResult) and result.receipt.cost_bound is not None:
        assert world.billed_usd <= result.receipt.cost_bound


@thorough
@given(worlds)
def test_attempts_follow_the_plan_and_retry_a_model_at_most_once(world: World) -> None:
    world.run_plan()
    planned = iter([entry.key for entry in world.plan().ranked])
    for key, calls in groupby(world.called):
        assert key in planned  # consumes it: later attempts come later in the plan
        assert len(list(calls)) <= 2


@thorough
@given(worlds)
def test_no_request_outlives_its_deadline(world: World) -> None:
    started_s = world.clock.monotonic_s()
    world.run_plan()
    assert world.clock.monotonic_s() - started_s <= world.remaining_s + 1e-6


@thorough
@given(worlds)
def test_every_call_is_in_the_attempt_log_and_on_the_receipt(world: World) -> None:
    result = world.run_plan()
    assert len(world.log.attempts) == len(world.called)
    if isinstance(result, ExecutionResult):
        assert list(result.receipt.attempts) == world.log.attempts
    if isinstance(result, BridgeError):
        assert 400 <= result.status <= 504


@thorough
@given(worlds)
def test_the_known_cost_never_exceeds_the_billed_cost_and_includes_all_counted_tokens(
    world: World,
) -> None:
    result = world.run_plan()
    counted = [happening.kind for happening in world.script]
    if isinstance(result, ExecutionResult) and result.receipt.cost is not None and "ok, uncounted" not in counted:
        assert Decimal(0) <= result.receipt.cost <= world.billed_usd
