"""Tokenizers stored as `tokenizer.json` (Llama 3)."""

import itertools
import json
from dataclasses import replace
from typing import Any

import tokenizers

from reference.tokenizer.added_tokens import (
    AddedTokens,
    adds_bos,
    find_bos,
    merge,
    parse_decoder,
    parse_list,
    with_roles,
)
from reference.tokenizer.bounds import is_lossless, max_text_bytes
from reference.tokenizer.files import (
    BYTE_OF,
    BYTE_PIECE,
    SENTENCEPIECE_SPACE,
    TokenizerError,
    errors_in,
    flatten_sequence,
    is_byte_level,
    is_space_escape,
)


class JsonTokenizer:
    """A `tokenizer.json`, loaded with the `tokenizers` library. Its pieces are written in GPT-2's
    byte alphabet (Llama 3) or in SentencePiece's notation (Llama 2).

    config: tokenizer_config.json. added: the added tokens of every file; None: those of the config.
    """

    def __init__(self, text: str, config: dict[str, Any], added: AddedTokens | None = None) -> None:
        self._tokenizer = parse(text)
        spec = json.loads(text)
        self._byte_level = is_byte_level(spec.get("decoder"))
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        with errors_in("tokenizer.json"):
            own = merge({}, parse_list(spec))
            added = merge(own, parse_decoder(config)) if added is None else own | added
        self._added = with_roles(added, config, vocabulary)
        matched = match_as_written(spec, self._added)
        if matched != own or any(self._id(t.content) != i for i, t in matched.items()):
            self._tokenizer = parse(json.dumps(with_added_tokens(spec, matched)))
        for i, token in self._added.items():
            if token.content and self._id(token.content) != i:
                raise TokenizerError(
                    f"{token.file}: token {token.content!r} cannot have the id {i}"
                )
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        post_processor = self._tokenizer.post_processor
        self._tokenizer.post_processor = None  # `encode` adds the BOS itself, and trims no offset
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        special = {i for i, token in self._added.items() if token.special}
        gaps = {i for i in range(self.vocab_size) if self._tokenizer.id_to_token(i) is None}
        self.special_ids = frozenset(special | gaps | unknown_token(spec["model"]))
        # "▁" in an added token is a space if the model may generate the token as a piece.
        pieces = set() if self._byte_level else set(vocabulary.values())
        self._names = {
            i: token.content for i, token in self._added.items() if token.special or i not in pieces
        }
        self._pieces = [self._bytes(i) for i in range(self.vocab_size)]
        lossless = is_lossless(spec, self._byte_level) and not any(
            token.lstrip or token.rstrip for token in self._added.values()
        )
        self.max_token_bytes = max_text_bytes(self._pieces, self._byte_level) if lossless else None
        self.bos_id = self._bos(config, post_processor)
        probe = self._ids("a")
        self.leading_space = bool(probe) and self._pieces[probe[0]].startswith(b" ")
        self.doubles_space = probe != self._ids(" a")
        self.added_ids = frozenset(self._added)
        self.space_after = frozenset(filter(self._puts_space_after, self._added))

    def _puts_space_after(self, token: int) -> bool:
        """Return whether `encode` puts a space before a text that follows an added token."""
        # A token that must be a whole word is not one before a letter.
        probes = (self._ids(self._added[token].content + text) for text in ("a", "."))
        return any(
            ids[0] == token and self._pieces[ids[1]].startswith(b" ")
            for ids in probes
            if len(ids) > 1
        )

    def _id(self, piece: str) -> int | None:
        token: int | None = self._tokenizer.token_to_id(piece)
        return token

    def _bos(self, config: dict[str, Any], post_processor: Any) -> int | None:
        """Return the BOS id: what the post-processor puts before a text, else the config's."""
        prefix = self._prefix(post_processor)
        adds = adds_bos(config)
        if not (bool(prefix) if adds is None else adds):
            return None
        if len(prefix) > 1:
            names = ", ".join(repr(self._tokenizer.id_to_token(token)) for token in prefix)
            raise TokenizerError(
                f"tokenizer.json: post_processor: puts {len(prefix)} tokens before a text "
                f"({names}); at most one is supported"
            )
        return prefix[0] if prefix else find_bos(config, self._added)

    def _prefix(self, post_processor: Any) -> list[int]:
        """Return the ids that the post-processor puts before a text."""
        probes = itertools.chain("a", self._tokenizer.get_vocab(with_added_tokens=False))
        probe = next((text for text in probes if self._ids(text)), None)
        if post_processor is None or probe is None:
            return []
        encoding = self._tokenizer.encode(probe, add_special_tokens=False)
        processed = post_processor.process(encoding)
        is_text = [not special for special in processed.special_tokens_mask]
        if list(itertools.compress(processed.ids, is_text)) != encoding.ids:
            raise TokenizerError("tokenizer.json: post_processor: must keep the text, once")
        return list(processed.ids[: is_text.index(True)])

    def _bytes(self, token: int) -> bytes:
        """Convert a token's name in the file to the bytes it adds to the text."""
        name = self._tokenizer.id_to_token(token)
        if token in self._names:
            return self._names[token].encode()
        if name is None:
            return b""
        if self._byte_level:
            try:
                return bytes(BYTE_OF[c] for c in name)
            except KeyError as error:
                raise TokenizerError(
                    f"tokenizer.json: token {token}, {name!r}: {error.args[0]!r} is not in the "
                    "alphabet of byte-level pieces"
                ) from None
        if byte := BYTE_PIECE.fullmatch(name):
            return bytes.fromhex(byte[1])
        return str(name).replace(SENTENCEPIECE_SPACE, " ").encode()

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        encoding, bos_length = self._encode(text)
        bos = [self.bos_id] if self.bos_id is not None and (add_bos or bos_length) else []
        return [*bos, *encoding.ids]

    def _encode(self, text: str) -> tuple[tokenizers.Encoding, int]:
        """Encode a text without the BOS that is put before it. If the text begins with a BOS, that
        one is left out, and its length in characters is returned.
        """
        encoding, length = self._tokenizer.encode(text, add_special_tokens=False), 0
        if self.bos_id is not None and encoding.ids[:1] == [self.bos_id]:
            length = encoding.offsets[0][1]
            encoding = self._tokenizer.encode(text[length:], add_special_tokens=False)
        return encoding, length

    def offsets(self, text: str) -> list[int]:
        encoding, length = self._encode(text)
        ends = [0, *(end for _, end in encoding.offsets)]
        # White space that the library has skipped belongs to the token after it.
        pairs = zip(encoding.offsets, ends, strict=False)
        starts = [length + min(start, end) for (start, _), end in pairs]
        return [0] * (self.bos_id is not None) + starts

    def token_bytes(self, token: int) -> bytes:
        return self._pieces[token]


def parse(text: str) -> tokenizers.Tokenizer:
    """Parse a tokenizer.json. Raises TokenizerError."""
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(f"tokenizer.json: {error}") from error


def match_as_written(spec: dict[str, Any], added: AddedTokens) -> AddedTokens:
    """Clear `normalized` if the normalizer only escapes spaces as "▁" and puts one before the text.

    The library would apply that to the added token, too, and find it only after a space, which it
    would include. Raises TokenizerError for `normalized` if the normalizer does more than that.
    """
    steps = list(flatten_sequence(spec.get("normalizer"), "normalizers"))
    escapes = [step for step in steps if is_space_escape(step)]
    if not escapes:
        return added
    for token in added.values():
        if token.normalized and len(escapes) < len(steps):
            raise TokenizerError(
                f"{token.file}: token {token.content!r}: normalized is not supported for the "
                f"normalizer {[step['type'] for step in steps]}"
            )
    return {i: replace(token, normalized=False) for i, token in added.items()}


def with_added_tokens(spec: dict[str, Any], added: AddedTokens) -> dict[str, Any]:
    """Return a tokenizer.json with these added tokens. The library numbers tokens that the
    vocabulary lacks consecutively, so that they are entered there, too.
    """
    tokens = {i: token for i, token in sorted(added.items()) if token.content}
    entries = [{"id": i, "content": t.content, **t.flags()} for i, t in tokens.items()]
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        ids = {token.content: i for i, token in tokens.items()}
        model = model | {"vocab": model["vocab"] | ids}
    return spec | {"added_tokens": entries, "model": model}


def unknown_token(model: dict[str, Any]) -> set[int]:
    """Return the id of the token for unknown text, if there is one."""
    token = model.get("unk_id")
    if token is None and model.get("unk_token") is not None:
        token = model["vocab"].get(model["unk_token"])
    return set() if token is None else {int(token)}
