"""`format` of JSON Schema: RFC 3339, RFC 4122, RFC 5321, RFC 2673 and RFC 4291.

Each format accepts only what every common validator accepts: dates exist in the calendar, and no
minute has 61 seconds.
"""

from functools import cache

from reference.grammar.language.expressions import intersect
from reference.grammar.language.nodes import Expression
from reference.grammar.language.regex import compile_regex

MONTHS = (
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])"
)
YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # 0001 … 9999
MULTIPLE_OF_4 = "(?:0[48]|[2468][048]|[13579][26])"
LEAP_YEAR = f"(?:[0-9]{{2}}{MULTIPLE_OF_4}|{MULTIPLE_OF_4}00)"
DATE = f"(?:{YEAR}-(?:{MONTHS})|{LEAP_YEAR}-02-29)"
HOUR = "(?:[01][0-9]|2[0-3])"
TIME = rf"{HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|[+-]{HOUR}:[0-5][0-9])"

HEX = "[0-9a-fA-F]"
BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"(?:{BYTE}\.){{3}}{BYTE}"
GROUP = f"{HEX}{{1,4}}"


def up_to_groups(max_count: int) -> str:
    """A pattern of at most `max_count` groups of an IPv6 address, with colons between them."""
    return f"(?:{GROUP}(?::{GROUP}){{0,{max_count - 1}}})?" if max_count else ""


def exactly_groups(count: int) -> str:
    """A pattern of `count` groups of an IPv6 address, with colons between them."""
    return f"{GROUP}(?::{GROUP}){{{count - 1}}}" if count else ""


SHORTENED = "|".join(f"{exactly_groups(n)}::{up_to_groups(7 - n)}" for n in range(8))
IPV6 = f"{GROUP}(?::{GROUP}){{7}}|{SHORTENED}"

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

FORMATS = {
    "date": DATE,
    "time": TIME,
    "date-time": f"{DATE}T{TIME}",
    "uuid": f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}",
    "email": rf"{ATOM}(?:\.{ATOM})*@{LABEL}(?:\.{LABEL})*",
    "ipv4": IPV4,
    "ipv6": IPV6,
}

LENGTHS = {"email": "[^@]{1,64}@[^@]{1,255}"}


@cache
def format_expression(name: str) -> Expression:
    """Return the texts of a format. Raises KeyError for an unknown one."""
    texts = compile_regex(FORMATS[name])
    return intersect(texts, compile_regex(LENGTHS[name])) if name in LENGTHS else texts
