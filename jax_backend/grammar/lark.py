"""Writes a formal language in llguidance's grammar syntax, a variant of Lark's.

Rules become rules and tokens become terminals. A terminal is written as `/…/` in the syntax of
Rust's `regex` where possible.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from collections.abc import Iterable, Iterator
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
    concat_parts,
    subexpressions,
)


def to_lark(language: Language) -> str:
    """Write the grammar of a language. Without `no_forcing`, llguidance would allow only one
    tokenization of text that has no alternative.
    """
    writer = LarkWriter(language)
    lines = ['%llguidance {"no_forcing": true}', f"start: {writer.rule(language.start)}"]
    for name, rule in language.reachable.items():
        lines.append(f"{writer.names[name]}: {writer.rule(rule)}")
    lines += [f"{name}: {terminal(body)}" for body, name in writer.terminals.items()]
    return "\n".join(lines) + "\n"


class LarkWriter:
    """Writes rules, and numbers rules and terminals."""

    def __init__(self, language: Language) -> None:
        self.names = {name: f"r{i}" for i, name in enumerate(language.reachable)}
        self.terminals: dict[Expression, str] = {}

    def rule(self, expression: Expression) -> str:
        """Write the right-hand side of a rule."""
        match expression:
            case Token(body=body):
                return self.terminals.setdefault(body, f"T{len(self.terminals)}")
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


def repeat_suffix(min_count: int, max_count: int | None) -> str:
    """Write a repetition: `{2,5}` or `{2,}`."""
    return f"{{{min_count},{'' if max_count is None else max_count}}}"


def terminal(expression: Expression) -> str:
    """Write the definition of a terminal. An expression with an intersection or a complement cannot
    be written as `/…/`.
    """
    if is_regular(expression):
        return f"/{regex(expression)}/" if expression is not EPSILON else '""'
    match expression:
        case Concat():
            return " ".join(join_regular_parts(concat_parts(expression)))
        case Alternation(options=options):
            return f"({' | '.join(map(terminal, options))})"
        case Repeat(body=body, min_count=min_count, max_count=max_count):
            return f"({terminal(body)}){repeat_suffix(min_count, max_count)}"
        case Intersection(left=left, right=right):
            return f"(({terminal(left)}) & ({terminal(right)}))"
        case Complement(body=body):
            return f"(~({terminal(body)}))"
        case _:
            raise TypeError(f"{expression} cannot be part of a token")


def join_regular_parts(parts: Iterable[Expression]) -> Iterator[str]:
    """Write the parts of a concatenation, with adjacent regular parts as one `/…/`."""
    for regular, run in groupby(parts, is_regular):
        if regular:
            yield terminal(concat_all(run))
        else:
            yield from (f"({terminal(part)})" for part in run)


def is_regular(expression: Expression) -> bool:
    """Return whether the syntax of `regex` can express it."""
    return not any(isinstance(e, Intersection | Complement) for e in subexpressions(expression))


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
