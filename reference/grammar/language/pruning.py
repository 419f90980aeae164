"""Removal of unproductive symbols: the rules and branches that no text uses."""

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import (
    EMPTY_SET,
    Language,
    concat_all,
    intersect,
    repeat,
    token,
    union,
)
from reference.grammar.language.nodes import (
    Alternation,
    Concat,
    Expression,
    Intersection,
    Ref,
    Repeat,
    Token,
    concat_parts,
)
from reference.grammar.language.work_budget import WorkBudget


def prune_unproductive(language: Language, budget: WorkBudget | None = None) -> Language:
    """Return the same language, with only the rules and branches that some text uses. budget: a
    bound on the work, by default that of one format. Raises TooComplex.
    """
    rules = {"": language.start, **language.reachable}
    derivatives = Derivatives(language, budget or WorkBudget())
    # A rule is productive if one of its texts uses only rules that are known to be productive:
    # iterate until no further rule is added.
    productive: set[str] = set()
    before = -1
    while len(productive) > before:
        before = len(productive)
        for name in reversed(rules):
            if name not in productive and is_nonempty(rules[name], productive, derivatives):
                productive.add(name)
    pruned: dict[Expression, Expression] = {}
    kept = {n: prune(rules[n], productive, derivatives, pruned) for n in rules if n in productive}
    start = kept.pop("", EMPTY_SET)
    return Language(start, Language(start, kept).reachable)


def is_nonempty(expression: Expression, productive: set[str], derivatives: Derivatives) -> bool:
    """Return whether the expression contains a text. productive: the rules known to contain one."""
    match expression:
        case Ref(name=name):
            return name in productive
        case Concat():
            parts = concat_parts(expression)
            return all(is_nonempty(part, productive, derivatives) for part in parts)
        case Alternation(options=options):
            return any(is_nonempty(option, productive, derivatives) for option in options)
        case Repeat(body=body, min_count=min_count):
            return min_count == 0 or is_nonempty(body, productive, derivatives)
        case Token(body=body):
            return is_nonempty(body, productive, derivatives)
        case Intersection():
            return derivatives.is_productive(expression)
        case _:
            return True


def prune(
    expression: Expression,
    productive: set[str],
    derivatives: Derivatives,
    pruned: dict[Expression, Expression],
) -> Expression:
    """Return the expression without unproductive branches. pruned: the results so far."""

    def inner(part: Expression) -> Expression:
        return prune(part, productive, derivatives, pruned)

    if expression in pruned:
        return pruned[expression]
    result: Expression
    match expression:
        case Ref():
            alive = is_nonempty(expression, productive, derivatives)
            result = expression if alive else EMPTY_SET
        case Intersection(left=left, right=right):
            result = derivatives.drop_unproductive(intersect(inner(left), inner(right)))
        case Concat():
            parts = list(concat_parts(expression))
            kept = [inner(part) for part in parts]
            result = expression if kept == parts else concat_all(kept)
        case Alternation(options=options):
            result = union([inner(option) for option in options])
        case Repeat(body=body, min_count=min_count, max_count=max_count):
            result = repeat(inner(body), min_count, max_count)
        case Token(body=body):
            result = token(inner(body))
        case _:
            result = expression
    pruned[expression] = result
    return result
