"""A tokenizer that is a list of byte strings, and the vocabulary of the grammar cases."""

import json
from collections.abc import Sequence
from pathlib import Path

from reference.tokenizer.vocabulary import Vocabulary

VOCABULARY_FILE = "grammar/vocabulary.json"


class BytesTokenizer:
    """Decodes ids by their pieces, in hexadecimal. It has no special tokens and encodes no text.

    leading_space: whether the first space of a text is stripped.
    """

    bos_id: int | None = None
    special_ids: frozenset[int] = frozenset()
    added_ids: frozenset[int] = frozenset()
    space_after: frozenset[int] = frozenset()
    doubles_space = True

    def __init__(self, pieces: Sequence[str], *, leading_space: bool = False) -> None:
        self.pieces = [bytes.fromhex(piece) for piece in pieces]
        self.vocab_size = len(pieces)
        self.leading_space = leading_space

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        raise NotImplementedError("pieces without scores decode only")

    def offsets(self, text: str) -> list[int]:
        raise NotImplementedError("pieces without scores decode only")

    def token_bytes(self, token: int) -> bytes:
        return self.pieces[token]


def read_vocabulary(directory: Path) -> Vocabulary:
    """Read the vocabulary of the grammar cases. Its only special token is end-of-sequence."""
    content = json.loads((directory / VOCABULARY_FILE).read_text("ascii"))
    pieces = tuple(bytes.fromhex(piece) for piece in content["pieces"])
    return Vocabulary(pieces, frozenset({content["end_of_sequence"]}))
