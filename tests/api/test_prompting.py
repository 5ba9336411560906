"""Whether requests meet prompts: the sums that a sidecar and a simulated replica tell of."""

from __future__ import annotations

import random

import pytest

from forebay.api.prompting import Prompting


def test_what_is_met_and_for_how_long_prompts_are_open() -> None:
    prompts = Prompting(now=100.0)
    prompts.arrive(101.0)
    prompts.arrive(102.0)
    prompts.close(103.0)
    assert prompts.sums(103.5) == (2.0, 1.0, 2.5, 3.5), "one is open still"
    prompts.close(104.0)
    prompts.arrive(110.0)
    prompts.close(110.5)
    assert prompts.sums(112.0) == (3.0, 1.0, 3.5, 12.0)


def test_several_that_are_over_together() -> None:
    prompts = Prompting(now=0.0)
    for at in (1.0, 2.0, 3.0):
        prompts.arrive(at)
    prompts.close(5.0, 3)
    assert prompts.sums(9.0) == (3.0, 2.0, 4.0, 9.0)


def test_sums_that_begin_anew_forget_nothing_that_is_open() -> None:
    prompts = Prompting(now=0.0)
    prompts.arrive(1.0)
    prompts.clear(2.0)
    prompts.arrive(3.0)
    assert prompts.sums(4.0) == (1.0, 1.0, 2.0, 2.0)


def test_arrivals_that_heed_nothing_meet_prompts_as_often_as_any_is_open() -> None:
    chance, prompts, now, ends = random.Random(3), Prompting(0.0), 0.0, [0.0]
    for _ in range(20_000):
        now += chance.expovariate(1.0)
        for end in sorted(e for e in ends if 0.0 < e <= now):
            prompts.close(end)
        ends = [e for e in ends if e > now]
        prompts.arrive(now)
        ends.append(now + 0.5)
    arrivals, met, open_s, seconds = prompts.sums(now)
    assert met / arrivals == pytest.approx(open_s / seconds, rel=0.03)
