"""`format` of JSON Schema: RFC 3339, RFC 4122, RFC 5321, RFC 2673 and RFC 4291, each within what
every reader takes: a date is a day that was or will be, and no minute has 61 seconds.
"""

from functools import cache

from reference.grammar.language.expressions import Expression, both
from reference.grammar.language.regex import compile_regex

MONTHS = (
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])"
)
YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # 0001 … 9999
BY_FOUR = "(?:0[48]|[2468][048]|[13579][26])"
LEAP_YEAR = f"(?:[0-9]{{2}}{BY_FOUR}|{BY_FOUR}00)"
DATE = f"(?:{YEAR}-(?:{MONTHS})|{LEAP_YEAR}-02-29)"
HOUR = "(?:[01][0-9]|2[0-3])"
TIME = rf"{HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|[+-]{HOUR}:[0-5][0-9])"

HEX = "[0-9a-fA-F]"
BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"(?:{BYTE}\.){{3}}{BYTE}"
GROUP = f"{HEX}{{1,4}}"


def groups(most: int) -> str:
    """None to `most` groups of an address with colons between them."""
    return f"(?:{GROUP}(?::{GROUP}){{0,{most - 1}}})?" if most else ""


def some_groups(count: int) -> str:
    return f"{GROUP}(?::{GROUP}){{{count - 1}}}" if count else ""


SHORTENED = "|".join(f"{some_groups(n)}::{groups(7 - n)}" for n in range(8))
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


LIMITS = {"email": "[^@]{1,64}@[^@]{1,255}"}


@cache
def of_format(name: str) -> Expression:
    """The texts of a format. Raises KeyError for one that is not known."""
    found = compile_regex(FORMATS[name])
    return both(found, compile_regex(LIMITS[name])) if name in LIMITS else found
