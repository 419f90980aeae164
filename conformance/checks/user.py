"""user: whose request it is, for those who look for abuse."""

from conformance.assertions.basic import accepted, refused, same_answer
from conformance.harness.capabilities import SEEDS
from conformance.harness.registry import consistency, protocol
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level


@protocol(Level.MUST, Evidence.EXACT)
def wrong_types_are_refused(server: Server) -> None:
    """What is no string is a 422 that names the field."""
    refused(server, "user", [3, True, ["a"], {"id": "a"}])


@protocol(Level.MUST, Evidence.EXACT)
def any_string_is_accepted(server: Server) -> None:
    """null and any string are accepted, be it empty, long, or in another script."""
    accepted(server, "user", [None, "", "a", "ü 漢 😀\n", "long " * 200])


@consistency(Level.MUST, Evidence.METAMORPHIC)
def changes_nothing(server: Server) -> None:
    """The answer is the same whoever asks."""
    plain = server.ask()
    for user in None, "a", "another":
        same_answer(plain, server.ask(user=user), "the same answer for each user")


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def does_not_enter_the_draws(server: Server) -> None:
    """With a seed, too, the answer is the same whoever asks."""
    for _ in range(2):
        fields = {"temperature": 1.5, "seed": server.rng.getrandbits(31)}
        plain = server.ask(**fields)
        for user in "a", "another":
            other = server.ask(user=user, **fields)
            same_answer(plain, other, "the same answer for each user")
