"""A tokenizer whose tokens are bytes, with a few special cases."""


class ByteTokenizer:
    """Ids 0–255 are bytes, 256 is end-of-sequence, and 257 and 258 both have the text "ab".

    A space is put before the text, as SentencePiece does. There is no BOS.
    """

    vocab_size = 259
    special_ids = frozenset({256})
    added_ids = special_ids
    space_after: frozenset[int] = frozenset()
    doubles_space = True
    bos_id = None
    leading_space = True

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        return list((" " + text).encode())

    def offsets(self, text: str) -> list[int]:
        return [0, *(i for i, c in enumerate(text) for _ in c.encode())]

    def token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b"</s>" if token == 256 else b"ab"
