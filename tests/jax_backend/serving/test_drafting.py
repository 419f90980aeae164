"""Drafts: the guess, the choice of their lengths, and their rows and pages."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_backend.serving.drafting.drafter import MAX_TOKENS_PER_STEP, LookupDrafter
from jax_backend.serving.drafting.lookup import PromptLookup
from jax_backend.serving.drafting.policy import (
    CPU_COSTS,
    MIN_SPEEDUP,
    Guess,
    LaunchCosts,
    draft_lengths,
)
from jax_backend.serving.scheduling import plan
from jax_backend.serving.scheduling.fairness import TokenCounters
from jax_backend.serving.scheduling.page_pool import PagePool
from jax_backend.serving.scheduling.rows import RowPlanner
from reference.params import CompletionParams
from reference.request import Image, ImageSpan, Request

SIZES = (2, 4, 8)


def lookup(tokens: Sequence[int | None]) -> PromptLookup:
    result = PromptLookup()
    result.extend(tokens)
    return result


def sequence(
    prompt: Sequence[int], tokens: Sequence[int] = (), unread: int = 0, **params: Any
) -> plan.Sequence:
    """Return a running sequence with an output, and `unread` tokens in flight."""
    fields = CompletionParams(**{"max_tokens": 500, "seed": 0, **params})
    request = Request.of(list(prompt), fields)
    state = plan.RequestState(0, request, lambda event: None, fields.max_tokens or 0, [])
    position = len(prompt) + len(tokens) + unread - 1
    result = plan.Sequence(state, 0, list(tokens), [1], position, slot=0)
    state.sequences = [result]
    return result


# The guess


@pytest.mark.parametrize(
    ("tokens", "guess"),
    [
        ([], []),
        ([1, 2, 3], []),
        ([1, 2, 3, 1], [2, 3, 1, 2, 3]),  # periodic
        ([7, 1, 2, 8, 1, 3, 9, 7, 1], [2, 8, 1, 3, 9]),  # the longest match, not the last one
        ([7, 1, 2, 8, 7, 1, 3, 9, 7, 1], [3, 9, 7, 1, 3]),  # the last one of the longest
        ([5, 5, 5], [5, 5, 5, 5, 5]),
        ([1, 2, None, 4, 1, 2], []),  # no image token
        ([1, 2, 3, None, 1], [2, 3]),
        ([1, None, 2, None], []),
    ],
)
def test_guess(tokens: list[int | None], guess: list[int]) -> None:
    assert lookup(tokens).guess(5) == guess


def test_record_with_another_value_is_followed() -> None:
    """After values that are new, the guess is the text after the old value."""
    record = [10, 11, 12, 13, 14]
    tokens = [n for value in range(8) for n in (*record, 100 + value, 20)]
    misses = sum(count_misses(tokens)[14:])
    assert misses == 6  # the values


def count_misses(tokens: list[int]) -> list[bool]:
    result, text = [], PromptLookup()
    for token in tokens:
        result.append(text.guess(1) != [token])
        text.extend([token])
    return result


@given(
    st.lists(st.one_of(st.integers(0, 3), st.none()), max_size=60),
    st.integers(0, 20),
    st.lists(st.integers(1, 60), max_size=3),
)
def test_guess_continues_an_earlier_occurrence(
    tokens: list[int | None], count: int, cuts: list[int]
) -> None:
    text = PromptLookup()
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        text.extend(tokens[start:stop])
    whole = lookup(tokens)
    assert text.guess(count) == whole.guess(count)  # however the tokens arrive
    guess = whole.guess(count)
    assert len(guess) <= count and None not in guess and 0 <= whole.accuracy <= 1
    if whole.source is not None:
        assert 0 < whole.source < len(tokens)
        assert guess == (tokens + guess)[whole.source :][: len(guess)]
    elif tokens and tokens[-1] is not None:
        assert tokens[-1] not in tokens[:-1]


def test_accuracy_follows_the_text() -> None:
    repeated, random = lookup([1, 2, 3, 4, 5] * 12), lookup([n * n % 61 for n in range(60)])
    assert repeated.accuracy > 0.95 and random.accuracy < 0.3


def test_rejected_guess_is_replaced_by_the_other_candidate() -> None:
    text = lookup([1, 2, 3, 4, 5, 9, 3, 7, 7, 1, 2, 9])  # 9 instead of 3
    candidates = {"match": [3, 7, 7], "replaced": [4, 5, 9]}
    first = text.guess(3)
    accuracy = text.accuracy
    text.reject()
    assert sorted([first, text.guess(3)]) == sorted(candidates.values())
    text.reject()
    assert text.guess(3) == [] and text.accuracy == accuracy
    text.extend([4])
    assert text.accuracy == accuracy  # an impossible guess is not counted
    empty = lookup([1, 2])
    empty.reject()
    assert empty.guess(1) == []


# The lengths

GUESSES = st.lists(
    st.builds(Guess, st.floats(0, 1), st.integers(0, 12), st.integers(0, 1)), max_size=8
)


@given(
    guesses=GUESSES,
    others=st.integers(0, 8),
    sizes=st.sets(st.integers(1, 32), min_size=1).map(sorted),
    costs=st.builds(LaunchCosts, st.floats(0, 300), st.floats(0, 50)),
)
def test_lengths_are_the_best_choice(
    guesses: list[Guess], others: int, sizes: list[int], costs: LaunchCosts
) -> None:
    """No other number of draft tokens, given to the most likely ones, has a higher rate."""
    rows = len(guesses) + others
    if not 0 < rows <= sizes[-1]:
        return
    lengths = draft_lengths(guesses, rows, sizes, costs)
    assert all(n <= guess.length for n, guess in zip(lengths, guesses, strict=True))
    assert sum(lengths) <= sizes[-1] - rows

    likely = sorted((g.acceptance(i) for g in guesses for i in range(g.length)), reverse=True)

    def time(count: int) -> float:
        return next(size for size in sizes if size >= rows + count) + costs.launch

    rates = [rows * MIN_SPEEDUP / time(0)]
    for count in range(1, min(len(likely), sizes[-1] - rows) + 1):
        rates.append((rows + sum(likely[:count])) / (time(count) + costs.wait))
    expected = sum(g.acceptance(i) for g, n in zip(guesses, lengths, strict=True) for i in range(n))
    if any(lengths):
        rate = (rows + expected) / (time(sum(lengths)) + costs.wait)
        assert rate == pytest.approx(max(rates)) and rate >= rates[0]
    else:
        assert max(rates[1:], default=0) <= rates[0] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("accuracy", "length"), [(0.0, 0), (0.1, 0), (0.5, 3), (0.95, 7), (1.0, 7)]
)
def test_length_of_one_stream_on_a_cpu(accuracy: float, length: int) -> None:
    assert draft_lengths([Guess(accuracy, 20)], 1, SIZES, CPU_COSTS) == [length]


def test_rows_go_to_the_sequence_that_repeats_itself() -> None:
    lengths = draft_lengths([Guess(0.3, 9), Guess(0.98, 9), Guess(0.3, 0)], 3, SIZES, CPU_COSTS)
    assert lengths[1] >= 4 and lengths[0] <= 1 and lengths[2] == 0


# The drafts


def drafter(**options: Any) -> LookupDrafter:
    fields = {"excluded": {2}, "num_allowed": lambda s, tokens: len(tokens), **options}
    return LookupDrafter(SIZES, CPU_COSTS, **fields)


REPEATED = [5, 6, 7, 8] * 12


def test_draft_is_cut_before_tokens_that_are_not_sampled_or_end_the_output() -> None:
    text = [5, 6, 7, 2] * 12
    for prompt, options, params, draft in (
        (text + [5], {}, {}, [6, 7]),
        (REPEATED + [5], {}, {"stop_token_ids": (8,)}, [6, 7]),
        (REPEATED + [5], {"num_allowed": lambda s, tokens: 1}, {}, [6]),
        (REPEATED + [5], {}, {"max_tokens": 3}, [6, 7]),
        (REPEATED + [5], {}, {"max_tokens": 1}, []),
        (REPEATED + [5], {}, {}, [6, 7, 8, 5, 6, 7, 8]),
    ):
        s = sequence(prompt, **params)
        drafts = drafter(**options).drafts([s])
        assert drafts.get(s, []) == draft


def test_tokens_in_flight_and_recomputed_output_have_no_draft() -> None:
    d, waiting = drafter(), sequence(REPEATED, [5], unread=1)
    assert d.should_wait([waiting]) and d.drafts([waiting]) == {}
    assert not drafter().should_wait([sequence(REPEATED, [5], unread=-1)])


def test_wait_in_vain_is_followed_by_a_growing_pause() -> None:
    d, s = drafter(num_allowed=lambda s, tokens: 0), sequence(REPEATED, [5], unread=1)
    waits = []
    for _ in range(150):
        waits.append(d.should_wait([s]))
        token = REPEATED[len(s.tokens) % 4]
        s.tokens += [token] if waits[-1] else []  # else it arrives after the next step is planned
        assert d.drafts([s]) == {}
        s.tokens += [] if waits[-1] else [token]
        s.position += 1
    pauses = [len(run) for run in "".join("x" if w else "." for w in waits).split("x")[1:-1]]
    assert pauses == [1, 2, 4, 8, 16, 32, 64]
    assert sum(waits) == 8


def test_long_prompt_is_read_over_several_steps() -> None:
    s = sequence(REPEATED * 50)
    d = drafter()
    steps = 0
    while not d.drafts([s]):
        steps += 1
    assert steps == -(-len(REPEATED * 50) // MAX_TOKENS_PER_STEP) - 1


def test_image_token_is_never_drafted() -> None:
    image = Image(pixels=None, digest=b"")  # type: ignore[arg-type]
    prompt = [5, 6, 7, 9, 9] * 8 + [5]
    fields = CompletionParams(max_tokens=50, seed=0)
    spans = tuple(ImageSpan(image, i + 3, i + 5) for i in range(0, 40, 5))
    s = sequence(prompt)
    s.state.request = Request.of(prompt, fields, images=spans)
    assert drafter().drafts([s]) == {s: [6, 7]}


# Their rows and pages


class Fixed:
    """Drafts that do not depend on the sequences."""

    def __init__(self, draft: list[int]) -> None:
        self.draft = draft

    def should_wait(self, sequences: list[plan.Sequence]) -> bool:
        return False

    def drafts(self, sequences: list[plan.Sequence]) -> dict[plan.Sequence, list[int]]:
        return dict.fromkeys(sequences, self.draft)


def planner(pool: PagePool, max_rows: int = 8) -> RowPlanner:
    result = RowPlanner(pool, TokenCounters(), page_size=4, max_rows=max_rows)
    result.drafter = Fixed([20, 21, 22, 23, 24, 25, 26, 27, 28])
    return result


def test_rows_of_a_draft_have_consecutive_positions_and_all_pages() -> None:
    pool = PagePool(8)
    s = sequence([1, 2, 3])
    s.pages = [pool.allocate() or 0]
    rows = planner(pool).plan([s])
    assert [row.position for row in rows] == list(range(2, 10))
    assert [row.token for row in rows] == [3, *range(20, 27)]
    assert [row.is_draft for row in rows] == [False] + [True] * 7
    assert {row.pages for row in rows} == {tuple(s.pages)} and len(s.pages) == 3
    assert s.position == 3


def test_pages_of_rejected_rows_are_returned() -> None:
    pool = PagePool(8)
    s = sequence([1, 2, 3])
    s.pages = [pool.allocate() or 0]
    p = planner(pool)
    rows = p.plan([s])
    s.tokens += [20, 21, 99]
    for row in rows[1:3]:
        p.accept(row)
    p.release_spare_pages([s])
    assert s.position == 5 and len(s.pages) == 2 and pool.num_available == 6
    assert (p.num_drafted, p.num_accepted) == (7, 2)


def test_drafts_evict_no_cached_prefix() -> None:
    pool = PagePool(3)
    cached = pool.allocate() or 0
    pool.cache(cached, b"prefix")
    pool.release([cached])
    s = sequence([1, 2, 3])
    s.pages = [pool.allocate() or 0]
    rows = planner(pool).plan([s])
    assert [row.position for row in rows] == list(range(2, 8))  # one free page
    assert pool.match_prefix([b"prefix"]) == [cached]


def test_drafts_share_the_rows_that_are_left() -> None:
    pool = PagePool(8)
    sequences = [sequence([1, 2]), sequence([1, 2], [3], unread=1), sequence([1, 2])]
    for s in sequences:
        s.pages = [pool.allocate() or 0]
    rows = planner(pool, max_rows=6).plan(sequences)
    owners = [sequences.index(row.sequence) for row in rows]
    assert owners == [0, 0, 0, 0, 1, 2]
    assert [row.sequence for row in planner(pool, max_rows=3).plan(sequences)] == sequences
