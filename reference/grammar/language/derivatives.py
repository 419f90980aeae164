"""Whether a text is in a language, byte by byte.

The derivative of a set by a byte is what may follow that byte. A text is in the set if the empty
text is in what is left after its last byte; it is the beginning of one if anything is left at all.

Source: Brzozowski 1964, "Derivatives of regular expressions"; for rules, Might, Darais and
Spiewak 2011, "Parsing with derivatives".
"""

from collections import deque
from collections.abc import Iterator

from reference.grammar.language.errors import TooComplex
from reference.grammar.language.expressions import (
    EMPTY,
    NOTHING,
    Both,
    Chars,
    Expression,
    Language,
    Or,
    Other,
    Ref,
    Repeat,
    Then,
    Token,
    both,
    chars,
    either,
    other,
    repeat,
    sequence,
    spine,
    then,
    token,
)

MOST_WAYS = 2_000  # to go on from a state
MOST_SEARCHED = 10_000  # of these, in all states that a search goes through
MEMORY = 2_000_000  # of these, in all states that are kept

# The bytes that begin a character of several bytes: (first, last, how many follow, its own bits).
LEADS = ((0xC0, 0xDF, 1, 0x1F), (0xE0, 0xEF, 2, 0x0F), (0xF0, 0xF7, 3, 0x07))


class Derivatives:
    """Those of one language, each computed once. Raises TooComplex past the bounds."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._known: dict[tuple[Expression, int], Expression] = {}
        self._hopeful: dict[Expression, bool] = {}
        self._size = 0

    def after(self, state: Expression, text: bytes) -> Expression:
        """What may follow the text; NOTHING if it is not the beginning of any."""
        for byte in text:
            if state is NOTHING:
                return NOTHING
            state = self.derivative(state, byte)
        return state

    def accepts(self, text: bytes) -> bool:
        return self.after(self.language.start, text).nullable

    def derivative(self, state: Expression, byte: int) -> Expression:
        found = self._known.get((state, byte))
        if found is None:
            found = self._known[state, byte] = self._derive(state, byte)
            if ways(found) > MOST_WAYS:
                raise TooComplex("there are too many ways to go on")
            self._size += ways(found)
            if self._size > MEMORY:
                self._known.clear()
                self._hopeful.clear()
                self._size = 0
        return found

    def _derive(self, state: Expression, byte: int) -> Expression:
        match state:
            case Chars():
                return rest_of_character(state, byte)
            case Then():
                return either(self._of_sequence(state, byte))
            case Or(options=options):
                return either([self.derivative(option, byte) for option in options])
            case Repeat(body=body, least=least, most=most):
                fewer = None if most is None else most - 1
                return then(self.derivative(body, byte), repeat(body, max(0, least - 1), fewer))
            case Both(one=one, two=two):
                return self.hopeful(both(self.derivative(one, byte), self.derivative(two, byte)))
            case Other(body=body):
                return other(self.derivative(body, byte))
            case Token(body=body):
                return self.derivative(body, byte)
            case Ref(name=name):
                return self.derivative(self.language.rules[name], byte)
            case _:
                return NOTHING

    def _of_sequence(self, state: Expression, byte: int) -> Iterator[Expression]:
        while isinstance(state, Then):
            yield then(self.derivative(state.first, byte), state.rest)
            if not state.first.nullable:
                return
            state = state.rest
        yield self.derivative(state, byte)

    def hopeful(self, state: Expression) -> Expression:
        """The state, or NOTHING if no text leads from it to an end. Of an intersection that cannot
        be seen, so it is searched.
        """
        if state not in self._hopeful:
            self._search(state)
        return state if self._hopeful[state] else NOTHING

    def _search(self, state: Expression) -> None:
        """The nearest first: the way to an end is seldom a long one."""
        came_from: dict[Expression, Expression | None] = {state: None}
        waiting, seen = deque([state]), 0
        while waiting:
            at = waiting.popleft()
            if self._ends_well(at):
                self._note_hope(at, came_from)
                return
            seen += ways(at)
            if seen > MOST_SEARCHED:
                raise TooComplex("it takes too much to tell whether any text is left")
            for following in self._following(at):
                if following not in came_from and self._hopeful.get(following) is not False:
                    came_from[following] = at
                    waiting.append(following)
                    if self._ends_well(following):
                        break
        self._hopeful.update(dict.fromkeys(came_from, False))

    def _ends_well(self, state: Expression) -> bool:
        """Whether that is known or can be seen."""
        if isinstance(state, Both):
            return state.nullable or self._hopeful.get(state, False)
        return state is not NOTHING

    def _note_hope(
        self, at: Expression | None, came_from: dict[Expression, Expression | None]
    ) -> None:
        while at is not None:
            self._hopeful[at] = True
            at = came_from[at]

    def _following(self, state: Expression) -> Iterator[Expression]:
        """Every state that one byte leads to; without a look at whether there is hope in it."""
        for byte in sorted(edges(state)):
            following = self._step(state, byte)
            if following is not NOTHING:
                yield following

    def _step(self, state: Expression, byte: int) -> Expression:
        if isinstance(state, Both):
            return both(self._step(state.one, byte), self._step(state.two, byte))
        return self.derivative(state, byte)


def ways(state: Expression) -> int:
    """How many there are to go on."""
    match state:
        case Or(options=options):
            return len(options)
        case Both(one=one, two=two):
            return ways(one) + ways(two)
        case Other(body=body):
            return ways(body)
        case _:
            return 1


def rest_of_character(state: Chars, byte: int) -> Expression:
    """UTF-8, RFC 3629."""
    if state.pending:
        if not 0x80 <= byte <= 0xBF:
            return NOTHING
        return within(state, state.pending - 1, byte & 0x3F)
    if byte < 0x80:
        return EMPTY if any(low <= byte <= high for low, high in state.ranges) else NOTHING
    for first, last, pending, bits in LEADS:
        if first <= byte <= last:
            shortest = (0x80, 0x800, 0x10000)[pending - 1]
            ranges = tuple((max(low, shortest), high) for low, high in state.ranges)
            return within(Chars(ranges), pending, byte & bits)
    return NOTHING


def within(state: Chars, pending: int, bits: int) -> Expression:
    """Of the characters whose number begins with these bits, what comes after them."""
    size = 64**pending
    base = bits * size
    ranges = [
        (max(low - base, 0), min(high - base, size - 1))
        for low, high in state.ranges
        if low <= high and low < base + size and high >= base
    ]
    if not pending:
        return EMPTY if ranges else NOTHING
    return chars(ranges, pending)


def edges(state: Expression) -> set[int]:
    """Bytes such that every other byte does what one of them does."""
    match state:
        case Chars(ranges=ranges, pending=pending) if pending:
            size = 64 ** (pending - 1)
            bounds = {0x80 + n // size for r in ranges for n in r}
            return {b + i for b in bounds for i in (0, 1) if b + i <= 0xBF} | {0x80}
        case Chars(ranges=ranges):
            found = {0, 0xC2, 0xE0, 0xE1, 0xED, 0xEE, 0xF0, 0xF1, 0xF4}
            for low, high in ranges:
                for code in low, high:
                    first = chr(code).encode("utf-8", "surrogatepass")[0]
                    found |= {first, first + 1}
            return {b for b in found if b <= 0xF4}
        case Then():
            found = set()
            while isinstance(state, Then):
                found |= edges(state.first)
                if not state.first.nullable:
                    return found
                state = state.rest
            return found | edges(state)
        case Or(options=options):
            return set().union(*map(edges, options))
        case Both(one=one, two=two):
            return edges(one) | edges(two)
        case Repeat(body=body) | Other(body=body) | Token(body=body):
            return edges(body)
        case _:
            return set()


def prune_unproductive(language: Language) -> Language:
    """The same texts, from rules and parts of which each is in some text. Raises TooComplex."""
    rules = {"": language.start, **language.reachable}
    search = Derivatives(language)
    alive: set[str] = set()
    before = -1
    while len(alive) > before:
        before = len(alive)
        for name in reversed(rules):
            if name not in alive and ends(rules[name], alive, search):
                alive.add(name)
    known: dict[Expression, Expression] = {}
    kept = {n: pruned(rules[n], alive, search, known) for n in rules if n in alive}
    start = kept.pop("", NOTHING)
    return Language(start, Language(start, kept).reachable)


def ends(expression: Expression, alive: set[str], search: Derivatives) -> bool:
    """Whether there is any text in it. alive: the rules of which that is known."""
    match expression:
        case Ref(name=name):
            return name in alive
        case Then():
            return all(ends(part, alive, search) for part in spine(expression))
        case Or(options=options):
            return any(ends(option, alive, search) for option in options)
        case Repeat(body=body, least=least):
            return least == 0 or ends(body, alive, search)
        case Token(body=body):
            return ends(body, alive, search)
        case Both():
            return search.hopeful(expression) is not NOTHING
        case _:
            return True


def pruned(
    expression: Expression,
    alive: set[str],
    search: Derivatives,
    known: dict[Expression, Expression],
) -> Expression:
    """The expression without what cannot be in a text."""
    if expression not in known:
        found: Expression
        match expression:
            case Ref():
                found = expression if ends(expression, alive, search) else NOTHING
            case Both(one=one, two=two):
                parts = [pruned(part, alive, search, known) for part in (one, two)]
                found = search.hopeful(both(*parts))
            case Then():
                found = sequence([pruned(p, alive, search, known) for p in spine(expression)])
            case Or(options=options):
                found = either([pruned(option, alive, search, known) for option in options])
            case Repeat(body=body, least=least, most=most):
                found = repeat(pruned(body, alive, search, known), least, most)
            case Token(body=body):
                found = token(pruned(body, alive, search, known))
            case _:
                found = expression
        known[expression] = found
    return known[expression]
