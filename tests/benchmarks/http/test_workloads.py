"""Prompts, times and sizes of the workloads."""

import numpy as np
import pytest

from benchmarks.http.workloads import FIRST_TOKEN_ID, WORKLOADS, Source, build

VOCABULARY = 400


def prompts(name: str, seed: int = 0, number: int = 0) -> list[tuple[int, ...]]:
    workload = build(name, seed, number, VOCABULARY, 0.2)
    return [turn.prompt for client in workload.clients for turn in client.turns]


@pytest.mark.parametrize("name", WORKLOADS)
def test_prompts_depend_on_seed_and_round(name: str) -> None:
    assert prompts(name) == prompts(name)
    assert len({str(prompts(name, seed, number)) for seed in (0, 1) for number in (0, 1)}) == 4


@pytest.mark.parametrize("name", WORKLOADS)
def test_prompts_have_no_special_ids(name: str) -> None:
    ids = {token for prompt in prompts(name) for token in prompt}
    assert min(ids) >= FIRST_TOKEN_ID and max(ids) < VOCABULARY


@pytest.mark.parametrize(
    ("name", "count", "prompt", "tokens"),
    [
        ("burst-short", 32, 32, 48),
        ("burst-long", 32, 256, 64),
        ("poisson", 60, 200, 64),
        ("shared-prefix", 32, 544, 48),
    ],
)
def test_sizes(name: str, count: int, prompt: int, tokens: int) -> None:
    workload = build(name, 0, 0, 32000)
    turns = [turn for client in workload.clients for turn in client.turns]
    assert len(turns) == workload.num_requests == count
    assert {(len(turn.prompt), turn.tokens) for turn in turns} == {(prompt, tokens)}


def test_poisson_arrivals() -> None:
    source = Source(0, vocabulary=VOCABULARY)
    pauses = np.diff(source.arrivals(20_000, rate=2.0))
    # Of exponential pauses the mean and the standard deviation are both 1 / rate.
    assert abs(pauses.mean() - 0.5) < 0.02 and abs(pauses.std() - 0.5) < 0.02
    assert min(pauses) >= 0
    starts = [client.start for client in build("poisson", 0, 0, 32000).clients]
    assert starts == sorted(starts) and 20 < starts[-1] < 45  # 60 requests at 2 per second


def test_single_stream_is_sequential() -> None:
    [client] = build("single", 0, 0, 32000).clients
    assert [(len(turn.prompt), turn.tokens) for turn in client.turns] == [(32, 64)] * 8
    assert not any(turn.continues for turn in client.turns)


def test_shared_prefix_is_answered_before() -> None:
    workload = build("shared-prefix", 0, 0, 32000)
    [first] = workload.preparation
    turns = [turn for client in workload.clients for turn in client.turns]
    assert {turn.prompt[:512] for turn in turns} == {first.prompt[:512]}
    assert len({turn.prompt[512:] for turn in (*turns, first)}) == 33


def test_long_prompts_arrive_while_streams_decode() -> None:
    *streams, last = build("long-prompts", 0, 0, 32000).clients
    assert [len(turn.prompt) for turn in last.turns] == [1500] * 3 and last.start > 0
    assert len(streams) == 4 and {client.start for client in streams} == {0.0}
    [group] = {turn.group for client in streams for turn in client.turns}
    assert group not in {turn.group for turn in last.turns}


def test_conversations_continue() -> None:
    clients = build("conversations", 0, 0, 32000).clients
    assert len(clients) == 8
    assert all([t.continues for t in client.turns] == [False, True] for client in clients)


@pytest.mark.parametrize("name", WORKLOADS)
def test_scale_never_leaves_a_size_of_zero(name: str) -> None:
    workload = build(name, 0, 0, VOCABULARY, 1e-6)
    assert workload.clients
    for turn in (turn for client in workload.clients for turn in client.turns):
        assert turn.prompt and turn.tokens == 1


def test_vocabulary_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary: must be above 259, got 259"):
        build("single", 0, 0, FIRST_TOKEN_ID)
