"""user: an identifier of the end user, for abuse monitoring."""

from conformance.assertions.basic import assert_same_completion
from conformance.harness.capabilities import SEEDS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level

checks = CheckGroup("user")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def no_effect_on_greedy(server: Server) -> None:
    """The answer is the same for every user."""
    plain = server.complete()
    for user in None, "a", "another":
        assert_same_completion(plain, server.complete(user=user), "the same answer for each user")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def no_effect_on_draws(server: Server) -> None:
    """With a seed, too, the answer is the same for every user."""
    for _ in range(2):
        fields = {"temperature": 1.5, "seed": server.rng.getrandbits(31)}
        plain = server.complete(**fields)
        for user in "a", "another":
            answer = server.complete(user=user, **fields)
            assert_same_completion(plain, answer, "the same answer for each user")
