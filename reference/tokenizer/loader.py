"""Loading the tokenizer of a checkpoint directory."""

from pathlib import Path

from reference.tokenizer.files import TokenizerError, read_config
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.sentencepiece import SentencePieceTokenizer


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Load `tokenizer.model` if the directory has one, else `tokenizer.json`.

    Raises TokenizerError, naming the file.
    """
    directory = Path(directory)
    config = read_config(directory / "tokenizer_config.json")
    if (directory / "tokenizer.model").exists():
        try:
            return SentencePieceTokenizer((directory / "tokenizer.model").read_bytes(), config)
        except TokenizerError:
            raise
        except Exception as error:  # protobuf's and SentencePiece's errors share no narrower base
            raise TokenizerError(f"tokenizer.model: not a SentencePiece model: {error}") from error
    if (directory / "tokenizer.json").exists():
        return JsonTokenizer((directory / "tokenizer.json").read_text("utf-8"), config)
    raise TokenizerError(f"{directory}: has neither tokenizer.model nor tokenizer.json")
