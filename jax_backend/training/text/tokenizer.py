"""Training of a SentencePiece tokenizer like Llama 2's: BPE with byte fallback."""

import io
from collections.abc import Iterable

import sentencepiece


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> bytes:
    """Train a tokenizer and return the serialized model.

    Ids: 0 <unk>, 1 <s>, 2 </s>, then 256 bytes, then the pieces.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.split("\n")),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=0.99995,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()
