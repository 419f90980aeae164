"""Writes a formal language in llguidance's grammar syntax, a variant of Lark's.

Rules become rules and tokens become terminals. A terminal is written as `/…/` in the syntax of
Rust's `regex` where possible.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from reference.grammar.language.char_ranges import MAX_CODE_POINT, subtract_ranges
from reference.grammar.language.expressions import (
    ANY_CHAR,
    EPSILON,
    Language,
    chars,
    concat,
    concat_all,
    intersect,
    literal,
    optional,
    repeat,
    token,
    union,
)
from reference.grammar.language.json_grammar import UNSTRIPPED_WHITESPACE, WHITESPACE
from reference.grammar.language.nodes import (
    Alternation,
    Chars,
    Complement,
    Concat,
    Expression,
    Intersection,
    Ref,
    Repeat,
    Token,
    children,
    concat_parts,
)

MAX_LENGTH = 300  # characters of one `/…/` that has alternatives
MAX_DEPTH = 50  # of its groups


def to_lark(language: Language) -> str:
    """Write the grammar of a language. Without `no_forcing`, llguidance would allow only one
    tokenization of text that has no alternative.
    """
    writer = LarkWriter(language)
    lines = ['%llguidance {"no_forcing": true}', f"start: {writer.rule(language.start)}"]
    for name, rule in language.reachable.items():
        lines.append(f"{writer.names[name]}: {writer.rule(rule)}")
    lines += writer.terminal_definitions()
    return "\n".join(lines) + "\n"


class LarkWriter:
    """Writes rules and terminals, and numbers both."""

    def __init__(self, language: Language) -> None:
        self.names = {name: f"r{i}" for i, name in enumerate(language.reachable)}
        self.terminals: dict[Expression, str] = {}
        self._sizes: dict[Expression, Size] = {}

    def rule(self, expression: Expression) -> str:
        """Write the right-hand side of a rule."""
        match expression:
            case Token(body=body):
                return self._terminal_name(body)
            case Ref(name=name):
                return self.names[name]
            case Concat():
                return " ".join(self.rule(part) for part in concat_parts(expression))
            case Alternation(options=options):
                written = " | ".join(self.rule(o) for o in options if o is not EPSILON)
                return f"({written})?" if EPSILON in options else f"({written})"
            case Repeat(body=body, min_count=min_count, max_count=max_count):
                return f"({self.rule(body)}){repeat_suffix(min_count, max_count)}"
            case _:
                return '""'

    def _terminal_name(self, body: Expression) -> str:
        return self.terminals.setdefault(body, f"T{len(self.terminals)}")

    def terminal_definitions(self) -> Iterator[str]:
        """Yield the definition of each terminal that rules or earlier definitions name."""
        written = 0
        while written < len(self.terminals):
            for body, name in list(self.terminals.items())[written:]:
                yield f"{name}: {self._terminal(body)}"
                written += 1

    def _terminal(self, expression: Expression) -> str:
        """Write the definition of a terminal. An expression that has an intersection or a
        complement, or is long or deep, is written in parts.
        """
        if self._is_short(expression):
            return f"/{regex(expression)}/" if expression is not EPSILON else '""'
        match expression:
            case Concat():
                return " ".join(self._join_short_parts(concat_parts(expression)))
            case Alternation(options=options):
                return f"({' | '.join(map(self._part, options))})"
            case Repeat(body=body, min_count=min_count, max_count=max_count):
                return f"({self._part(body)}){repeat_suffix(min_count, max_count)}"
            case Intersection(left=left, right=right):
                return f"(({self._part(left)}) & ({self._part(right)}))"
            case Complement(body=body):
                return f"(~({self._part(body)}))"
            case _:
                raise TypeError(f"{expression} cannot be part of a token")

    def _part(self, expression: Expression) -> str:
        """Write a part of a terminal. A long alternation becomes a terminal of its own: several
        expressions may share it.
        """
        if isinstance(expression, Alternation) and not self._is_short(expression):
            return self._terminal_name(expression)
        return self._terminal(expression)

    def _join_short_parts(self, parts: Iterable[Expression]) -> Iterator[str]:
        """Write the parts of a concatenation, with adjacent short parts as one `/…/`."""
        for short, run in groupby(parts, self._is_short):
            if short:
                yield f"/{regex(concat_all(run))}/"
            else:
                yield from (f"({self._part(part)})" for part in run)

    def _is_short(self, expression: Expression) -> bool:
        """Return whether `/…/` can express it, and would be neither long nor deep."""
        size = size_of(expression, self._sizes)
        return size.regular and size.length <= MAX_LENGTH and size.depth <= MAX_DEPTH


@dataclass(frozen=True)
class Size:
    """The size of an expression that is written out.

    length: in characters. depth: of its groups. regular: whether it has neither intersections nor
    complements.
    """

    length: int
    depth: int
    regular: bool


def size_of(expression: Expression, sizes: dict[Expression, Size]) -> Size:
    """Return the size of an expression. sizes: those computed so far, since parts are shared."""
    if expression not in sizes:
        in_sequence = isinstance(expression, Concat)
        parts = concat_parts(expression) if in_sequence else children(expression)
        inner = [size_of(part, sizes) for part in parts]
        sizes[expression] = Size(
            length=1 + sum(size.length for size in inner),
            depth=max((size.depth for size in inner), default=0) + (not in_sequence),
            regular=all(size.regular for size in inner)
            and not isinstance(expression, Intersection | Complement),
        )
    return sizes[expression]


def repeat_suffix(min_count: int, max_count: int | None) -> str:
    """Write a repetition: `{2,5}` or `{2,}`."""
    return f"{{{min_count},{'' if max_count is None else max_count}}}"


def regex(expression: Expression) -> str:
    """Write an expression in the syntax of Rust's `regex`."""
    match expression:
        case Chars(ranges=((low, high),)) if low == high:
            return character(low)
        case Chars(ranges=ranges):
            return f"[{''.join(f'{character(a)}-{character(b)}' for a, b in ranges)}]"
        case Concat():
            return "".join(map(regex, concat_parts(expression)))
        case Alternation(options=options):
            return f"(?:{'|'.join(map(regex, options))})"
        case Repeat(body=body, min_count=min_count, max_count=max_count):
            return f"(?:{regex(body)}){repeat_suffix(min_count, max_count)}"
        case _:
            return ""


def character(code: int) -> str:
    """Write one character: itself if it is an ASCII letter or digit, else an escape."""
    unescaped = code < 128 and chr(code).isalnum()
    return chr(code) if unescaped else f"\\u{{{code:x}}}"


def unstrip_leading_space(language: Language) -> Language:
    """Return the texts that are in the language once their leading space, if any, is stripped: its
    texts after a space, and those of its texts that do not begin with one.
    """
    first, *rest = concat_parts(language.start)
    if first is WHITESPACE:
        return Language(concat_all([optional(token(UNSTRIPPED_WHITESPACE)), *rest]), language.rules)
    # Otherwise the language is one token (a regular expression) or only the empty text.
    whole = language.start.body if isinstance(language.start, Token) else EPSILON
    space = (ord(" "), ord(" "))
    not_space = chars(subtract_ranges([(0, MAX_CODE_POINT)], [space]))
    no_leading_space = optional(concat(not_space, repeat(ANY_CHAR)))
    after_space = concat(literal(" "), whole)
    return Language(token(union([after_space, intersect(whole, no_leading_space)])))
