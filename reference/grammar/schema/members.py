"""The members of an object, in order: the listed properties, then others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from reference.grammar.language.expressions import EMPTY_SET, concat, optional, union
from reference.grammar.language.json_grammar import COMMA, comma_separated, enclosed
from reference.grammar.language.nodes import Expression

AddRule = Callable[[str, Expression], Expression]  # names an expression, and returns its reference


@dataclass(frozen=True)
class Members:
    """The possible members of an object.

    listed: the member of each listed property. required: whether it must be there. other: a member
    with any other name; EMPTY_SET if there may be none. min_count, max_count: bounds of the number
    of members.
    """

    listed: Sequence[Expression]
    required: Sequence[bool]
    other: Expression
    min_count: int = 0
    max_count: int | None = None


@dataclass
class NextMembers:
    """The choice after some number of members: one of the listed members that are left, or
    the others. may_end: whether the object may end instead.

    The listed members are kept in blocks of 2ⁿ, the first one first. So n properties need a number
    of alternatives that is proportional to n, not to its square.
    """

    others: Expression
    may_end: bool
    blocks: list[tuple[int, Expression]] = field(default_factory=list)

    def add(self, member: Expression, required: bool, add_rule: AddRule) -> None:
        """Add a listed member before the others. A required one cannot be skipped."""
        if required:
            self.others, self.may_end, self.blocks = EMPTY_SET, False, []
        size = 1
        while self.blocks and self.blocks[0][0] == size:
            member = add_rule("members", union([member, self.blocks.pop(0)[1]]))
            size *= 2
        self.blocks.insert(0, (size, member))

    @property
    def member(self) -> Expression:
        """The next member, and all that follow it."""
        return union([*(block for _, block in self.blocks), self.others])

    @property
    def rest(self) -> Expression:
        """The rest of the members after one of them."""
        rest = concat(COMMA, self.member)
        return optional(rest) if self.may_end else rest


def object_of(members: Members, add_rule: AddRule) -> Expression:
    """The objects with these members.

    Built from the last member to the first, once for each number of members that precede it.
    Numbers that no bound tells apart count as one.
    """
    bounds = significant_bounds(members)
    min_count, max_count = bounds
    last_count = min(min_count if max_count is None else max_count, len(members.listed))
    following = [
        NextMembers(other_members(members.other, count, bounds, add_rule), count >= min_count)
        for count in range(last_count + 1)
    ]
    for i in range(len(members.listed) - 1, -1, -1):
        counts = range(min(i, last_count) + 1)
        rests = [
            EMPTY_SET if count == max_count else following[min(count + 1, last_count)].rest
            for count in counts
        ]
        for count in counts:
            member = add_rule("member", concat(members.listed[i], rests[count]))
            following[count].add(member, members.required[i], add_rule)
    first = following[0]
    return enclosed("{", first.member, "}", may_be_empty=first.may_end)


def significant_bounds(members: Members) -> tuple[int, int | None]:
    """Return the bounds of the number of members, 0 or None if the rest implies them."""
    min_count, max_count = members.min_count, members.max_count
    if min_count <= sum(members.required):
        min_count = 0
    if max_count is not None and members.other is EMPTY_SET and max_count >= len(members.listed):
        max_count = None
    return min_count, max_count


def other_members(
    member: Expression, count: int, bounds: tuple[int, int | None], add_rule: AddRule
) -> Expression:
    """The members with other names, after `count` listed ones."""
    min_count, max_count = bounds
    most = None if max_count is None else max_count - count
    return add_rule("members", comma_separated(member, max(1, min_count - count), most))
