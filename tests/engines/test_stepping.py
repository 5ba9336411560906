from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.engines.sim.stepping import Batch, Profile, Sequence

PROFILE = Profile(base_s=0.010, per_token_s=0.001, per_kv_token_s=0.0001, max_concurrency=2)


def a_batch(*prompts: int, output: int = 3) -> tuple[Batch[Sequence], list[Sequence]]:
    batch: Batch[Sequence] = Batch()
    sequences = [Sequence(prompt, output) for prompt in prompts]
    for sequence in sequences:
        batch.add(sequence)
    return batch, sequences


def test_first_step_computes_the_prompt_and_the_next_ones_a_token() -> None:
    batch, (sequence,) = a_batch(100)
    assert batch.begin(PROFILE) == 0.010 + 100 * 0.001 + 100 * 0.0001
    assert batch.end() == [sequence]
    assert sequence.generated == 1
    assert batch.begin(PROFILE) == 0.010 + 1 * 0.001 + 101 * 0.0001


def test_a_newcomer_slows_everyone_by_its_prompt() -> None:
    batch, _ = a_batch(10)
    batch.begin(PROFILE)
    batch.end()
    batch.add(Sequence(50, 3))
    assert batch.begin(PROFILE) == 0.010 + (1 + 50) * 0.001 + (11 + 50) * 0.0001


def test_admission_is_in_order_and_bounded_by_concurrency() -> None:
    batch, (first, second, third) = a_batch(1, 1, 1)
    batch.begin(PROFILE)
    assert list(batch.running) == [first, second]
    assert list(batch.waiting) == [third]


def test_a_request_generates_exactly_its_output_and_leaves() -> None:
    batch, (sequence,) = a_batch(5, output=2)
    for _ in range(2):
        batch.begin(PROFILE)
        batch.end()
    assert sequence.finished and not batch and batch.context == 0


def test_a_removed_request_frees_its_place_in_the_next_step() -> None:
    batch, (first, _, third) = a_batch(1, 1, 1)
    batch.begin(PROFILE)
    batch.remove(first)
    assert first not in batch.end()
    batch.begin(PROFILE)
    assert third in batch.running


def test_a_lower_concurrency_admits_no_one_until_enough_have_left() -> None:
    batch, _ = a_batch(1, 1, 1, output=2)
    batch.begin(PROFILE)
    batch.end()
    batch.begin(Profile(0.010, 0.001, 0.0001, max_concurrency=1))
    assert len(batch.running) == 2 and len(batch.waiting) == 1


@given(st.lists(st.one_of(st.tuples(st.integers(1, 50), st.integers(1, 5)), st.integers(0, 9), st.none()), max_size=60), st.integers(1, 4))
def test_context_is_always_the_sum_and_concurrency_never_exceeded(actions: list[tuple[int, int] | int | None], concurrency: int) -> None:
    """Actions: a pair adds a request, a number removes the one at that place, None makes a step."""
    batch: Batch[Sequence] = Batch()
    profile = Profile(0.01, 0.001, 0.0001, concurrency)
    for action in actions:
        if isinstance(action, tuple):
            batch.add(Sequence(*action))
        elif action is None:
            batch.begin(profile)
            batch.end()
        else:
            everyone = [*batch.running, *batch.waiting]
            if everyone:
                batch.remove(everyone[action % len(everyone)])
        assert batch.context == sum(s.context for s in batch.running)
        assert len(batch.running) <= concurrency
        assert not any(s.finished for s in batch.running)
