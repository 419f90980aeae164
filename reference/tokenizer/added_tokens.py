"""Added tokens: the texts that are one token wherever a prompt has them, and which are special.

Files, in order of precedence where they give different flags for the same token:

    tokenizer_config.json    `added_tokens_decoder`
    tokenizer.json           `added_tokens`
    added_tokens.json        texts and ids, without flags

Tokens with a role in tokenizer_config.json (`bos_token`, `pad_token`, `additional_special_tokens`)
are special. The roles in special_tokens_map.json replace those, unless there is an
`added_tokens_decoder`. A token with a role but without an id takes the next free id.

Source: `PreTrainedTokenizerBase._from_pretrained` and `TokenizersBackend.__init__` in transformers
5 (https://github.com/huggingface/transformers/tree/v5.0.0/src/transformers). There, an
`added_tokens_decoder` hides the other files; here the files must agree on every id.
"""

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from reference.tokenizer.files import TokenizerError, errors_in, read_object

CONFIG, ROLES = "tokenizer_config.json", "special_tokens_map.json"
ROLE_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
ROLE_LISTS = ("additional_special_tokens", "extra_special_tokens")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class AddedToken:
    """A text that is one token wherever a prompt has it.

    lstrip, rstrip: the token includes the white space before or after its text. single_word: the
    text must not be part of a longer word. normalized: the text is searched in the normalized
    prompt. special: the token is never sampled. file: where it is defined.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False
    file: str = field(default="", compare=False)

    def flags(self) -> dict[str, bool]:
        return {name: value for name, value in asdict(self).items() if name in FLAGS}


AddedTokens = dict[int, AddedToken]  # by id


def read_config(directory: Path) -> dict[str, Any]:
    """Read tokenizer_config.json, with the roles of special_tokens_map.json if they apply. Tokens
    with a role are read as `AddedToken`, which names the file.

    Raises TokenizerError, naming the file and the field.
    """
    config = read_object(directory / CONFIG)
    roles = read_object(directory / ROLES)
    for file, fields in (CONFIG, config), (ROLES, roles):
        with errors_in(directory / file):
            fields.update(parse_roles(fields, file))
            adds_bos(fields)
    return config | (roles if config.get("added_tokens_decoder") is None else {})


def adds_bos(config: Mapping[str, Any]) -> bool | None:
    """Return `add_bos_token`; None if it is not set."""
    value = config.get("add_bos_token")
    if not isinstance(value, bool | None):
        raise ValueError(f"add_bos_token: must be true, false or null, got {value!r}")
    return value


def roles_of(config: Mapping[str, Any]) -> dict[str, AddedToken]:
    """Return the tokens with a role, by role. They are special."""
    roles = parse_roles(config, CONFIG)
    values = {name: roles.get(name) for name in ROLE_NAMES}
    for name in ROLE_LISTS:
        values |= {f"{name}: {key}": token for key, token in roles.get(name, {}).items()}
    return {role: token for role, token in values.items() if token is not None}


def parse_roles(config: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Read the fields of a file that give tokens a role: each token, or tokens by key."""
    roles: dict[str, Any] = {
        name: parse_role(name, config[name], file) for name in ROLE_NAMES if name in config
    }
    for name in ROLE_LISTS:
        if name in config:
            extra = config[name] or []
            if not isinstance(extra, list | dict):
                raise ValueError(f"{name}: {extra!r} is not a list of tokens")
            items = extra.items() if isinstance(extra, dict) else enumerate(extra)
            roles[name] = {k: parse_role(f"{name}: {k}", value, file) for k, value in items}
    return roles


def parse_role(role: str, value: Any, file: str) -> AddedToken | None:
    """Read a token with a role: its text, an object with `content`, or an `AddedToken`. None if
    it is null or empty.
    """
    if isinstance(value, AddedToken) or value in (None, ""):
        return value or None
    fields = value if isinstance(value, dict) else {"content": value}
    if not isinstance(fields.get("content"), str):
        raise ValueError(f"{role}: {value!r} is not a token")
    return parse_token(role, {**fields, "special": True}, file)


def parse_token(name: str, fields: Any, file: str) -> AddedToken:
    """Read `content` and flags. An absent `normalized` is true for a token that is not special."""
    if not isinstance(fields, Mapping) or not isinstance(fields.get("content"), str):
        raise ValueError(f"{name}: must be an object with `content`, got {fields!r}")
    flags = {flag: fields.get(flag, False) for flag in FLAGS}
    flags["normalized"] = fields.get("normalized", not flags["special"])
    for flag, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name}: {flag}: must be true or false, got {value!r}")
    return AddedToken(fields["content"], **flags, file=file)


def parse_decoder(config: Mapping[str, Any]) -> Iterator[tuple[int, AddedToken]]:
    """Read the `added_tokens_decoder` of a tokenizer_config.json: {id: object}."""
    decoder = config.get("added_tokens_decoder") or {}
    if not isinstance(decoder, Mapping):
        raise ValueError("added_tokens_decoder: not an object of objects")
    for i, token in decoder.items():
        yield parse_id(i), parse_token(f"added_tokens_decoder: {i}", token, CONFIG)


def parse_list(spec: Mapping[str, Any]) -> Iterator[tuple[int, AddedToken]]:
    """Read the `added_tokens` of a tokenizer.json: a list of objects with `id`."""
    tokens = spec.get("added_tokens") or []
    if not isinstance(tokens, list) or not all(isinstance(token, Mapping) for token in tokens):
        raise ValueError("added_tokens: not a list of objects")
    for token in tokens:
        yield parse_id(token.get("id")), parse_token("added_tokens", token, "tokenizer.json")


def parse_ids(ids: Mapping[str, Any], special: Container[str]) -> Iterator[tuple[int, AddedToken]]:
    """Read an added_tokens.json: {text: id}. special: the texts of special tokens."""
    for text, i in ids.items():
        is_special = text in special
        yield (
            parse_id(i),
            AddedToken(
                text, normalized=not is_special, special=is_special, file="added_tokens.json"
            ),
        )


def parse_id(value: Any) -> int:
    digits = str(value)
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"added tokens: must have an id ≥ 0, got {value!r}")
    return int(digits)


def read_added_tokens(directory: Path, config: Mapping[str, Any]) -> AddedTokens:
    """Read the added tokens of all files of a directory. config: the result of `read_config`.

    The padding token of the model is special, too. Raises TokenizerError for an invalid file, and
    for two files that disagree.
    """
    special = {token.content for token in roles_of(config).values()}
    parsers: dict[str, Callable[[dict[str, Any]], Iterator[tuple[int, AddedToken]]]] = {
        "added_tokens.json": lambda ids: parse_ids(ids, special),
        "tokenizer.json": parse_list,
        CONFIG: parse_decoder,
    }
    added: AddedTokens = {}
    for name, parse in parsers.items():
        fields = read_object(directory / name)
        with errors_in(directory / name):
            added = merge(added, parse(fields))
    padding = read_padding_id(directory)
    return added | {i: replace(t, special=True) for i, t in added.items() if i == padding}


def merge(added: AddedTokens, tokens: Iterable[tuple[int, AddedToken]]) -> AddedTokens:
    """Return both; the flags of `tokens` take precedence.

    Raises ValueError if an id has two texts, or a text has two ids.
    """
    merged = dict(added)
    ids = {token.content: i for i, token in added.items()}
    for i, token in tokens:
        same_id = merged.get(i, token)
        if same_id.content != token.content:
            raise ValueError(
                f"token {i} is {token.content!r}, but {same_id.content!r} in {same_id.file}"
            )
        first = ids.setdefault(token.content, i)
        if first != i and token.content:
            raise ValueError(
                f"token {token.content!r} has the id {i}, but {first} in {merged[first].file}"
            )
        merged[i] = token
    return merged


def read_padding_id(directory: Path) -> Any:
    """Return `pad_token_id` of generation_config.json, else of config.json; None if absent."""
    config = read_object(directory / "config.json")
    text_config = config.get("text_config")
    sources = [
        read_object(directory / "generation_config.json"),
        config,
        text_config if isinstance(text_config, Mapping) else {},
    ]
    return next((i for s in sources if (i := s.get("pad_token_id")) is not None), None)


def with_roles(
    added: AddedTokens,
    config: Mapping[str, Any],
    vocabulary: Mapping[str, int],
    replaceable: Container[int] = (),
) -> AddedTokens:
    """Return the added tokens of a vocabulary, and those that have a role.

    vocabulary: the pieces of the model. replaceable: ids whose pieces no text contains, so that
    an added token may take their place. Raises TokenizerError if an id has two texts, or a text has
    two ids.
    """
    pieces = {i: piece for piece, i in vocabulary.items()}
    for i, token in added.items():
        piece = pieces.get(i, token.content)
        if piece != token.content and i not in replaceable:
            raise TokenizerError(
                f"{token.file}: token {i} is {token.content!r}, but {piece!r} in the vocabulary"
            )
        if (base := vocabulary.get(token.content, i)) != i:
            raise TokenizerError(
                f"{token.file}: token {token.content!r} has the id {i}, but {base} in the "
                "vocabulary"
            )
    ids = {piece: i for piece, i in vocabulary.items() if i not in added}
    ids |= {token.content: i for i, token in added.items()}
    complete = dict(added)
    free = itertools.count(1 + max(ids.values(), default=-1))
    for token in roles_of(config).values():
        if token.content not in ids:
            ids[token.content] = next(free)
        i = ids[token.content]
        complete[i] = replace(complete.get(i, token), special=True)
    return complete


def find_bos(
    config: Mapping[str, Any], added: AddedTokens, default: int | None = None
) -> int | None:
    """Return the id of the token with the role `bos_token`, else the default.

    Raises TokenizerError if there is neither, and `add_bos_token` is true.
    """
    bos = roles_of(config).get("bos_token")
    ids = [i for i, token in added.items() if bos is not None and token.content == bos.content]
    token = ids[0] if ids else default
    if token is None and config.get("add_bos_token"):
        raise TokenizerError(f"{CONFIG}: add_bos_token is set and bos_token is not a token")
    return token
