"""Log-probabilities and draws under a token mask, compared with the reference."""

from typing import Any

from conformance.assertions.basic import assert_that
from conformance.assertions.logprobs import assert_same_logprobs, is_renormalized
from conformance.assertions.next_token import (
    next_token_distribution,
)
from conformance.assertions.response_format import JSON_PROMPT, mask_after_truncation
from conformance.fixtures.prompts import PROMPTS
from conformance.fixtures.response_formats import FORMATS, JSON_OBJECT, regex_format
from conformance.harness.capabilities import LOGPROBS, Capability
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.oracle.evalues import SequentialTest
from conformance.oracle.greedy_paths import assert_greedy_path, completion_with_ids
from conformance.oracle.reported_rows import output_steps, row_fields
from conformance.oracle.sampling import fresh_seed, neutral_params
from conformance.oracle.seeded_draws import assert_matches_seeded_draws, draws_token
from conformance.oracle.statistics import rejects
from conformance.verdicts import Evidence, Level
from reference.threefry import noise

checks = CheckGroup("response_format")

LETTERS = "[a-z]+"
TRUNCATIONS: tuple[dict[str, Any], ...] = (
    {"top_k": 4},
    {"top_k": 8, "top_p": 0.8},
    {"top_k": 4, "min_p": 0.01},
    {"min_p": 0.1},
)
WRONG_ORDER = "response_format after truncation"


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def unmasked_logprobs(server: Server) -> None:
    """The log-probabilities after a prompt are the same with a format as without: they are reported
    before the token mask.
    """
    plain = next_token_distribution(server, PROMPTS[0])
    masked = next_token_distribution(server, PROMPTS[0], response_format=JSON_OBJECT)
    deviations = {"after the format": is_renormalized(plain, masked)}
    assert_same_logprobs(plain, masked, f"{JSON_OBJECT}", deviations)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_matches_reference(server: Server) -> None:
    """At temperature 0 each token is the argmax of all tokens that extend the text to a valid
    prefix, however the valid texts are tokenized.
    """
    for response_format in FORMATS:
        assert_greedy_path(server, JSON_PROMPT, 12, response_format=response_format)


@checks.truth(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def samples_within_mask(server: Server) -> None:
    """The token mask is applied before all other steps: of the remaining tokens, each is sampled as
    often as the reference samples it.
    """
    test = SequentialTest(server)
    test.known[WRONG_ORDER] = mask_after_truncation
    test.ratios[WRONG_ORDER] = 0.0
    for turn, prompt in enumerate(PROMPTS[:8]):
        truncation = TRUNCATIONS[turn % len(TRUNCATIONS)]
        params = {"temperature": 1, "response_format": regex_format(LETTERS), **truncation}
        fields = {"prompt": prompt, "max_tokens": 12, **fresh_seed(server)}
        choice, _ = completion_with_ids(server, **neutral_params(server) | fields | params)
        for position, step in enumerate(output_steps(server, prompt, params, choice), 1):
            test.add(step, f"token {position} of {choice.text!r} with {params}", choice)
        if rejects(test.evidence, server.alpha):
            raise test.verdict("tokens as often as the reference samples them", test.odds, choice)


def probe_reference_generator(server: Server) -> None:
    """Raise NonStrict if a seed does not sample what it samples in the reference."""
    fields = {"prompt": PROMPTS[0], "max_tokens": 8, "temperature": 1, "seed": 7}
    answer = server.complete(**neutral_params(server), **row_fields(server), **fields)
    assert_matches_seeded_draws(server, PROMPTS[0], 7, answer.choice)


REFERENCE_GENERATOR = Capability("the reference's generator", probe_reference_generator)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS, REFERENCE_GENERATOR)
def seeded_matches_reference(server: Server) -> None:
    """If seeds sample what they sample in the reference, each token has the highest sum of logit
    and Gumbel noise of all tokens that the mask allows.
    """
    oracle = server.oracle
    for response_format in FORMATS:
        seed = server.rng.getrandbits(31)
        params = {"temperature": 1, "response_format": response_format}
        fields = {"prompt": JSON_PROMPT, "max_tokens": 12, "seed": seed}
        choice, _ = completion_with_ids(server, **fields, **neutral_params(server), **params)
        for position, step in enumerate(output_steps(server, JSON_PROMPT, params, choice)):
            matches = draws_token(step, noise(seed, 0, position, len(step.logits)))
            actual = f"{oracle.token_text(JSON_PROMPT, step.token)!r}, of {choice.text!r}"
            assert_that(matches, f"another token as token {position + 1}", actual, choice.at)
