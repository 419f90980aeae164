"""Loading the tokenizer of a checkpoint directory."""

import re
from pathlib import Path

from reference.tokenizer.added_tokens import read_added_tokens, read_config
from reference.tokenizer.files import TokenizerError
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.sentencepiece import SentencePieceTokenizer

TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")  # a token in base64 and its id


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Load `tokenizer.model` if the directory has one in SentencePiece's format, else
    `tokenizer.json`. A `tokenizer.model` in tiktoken's format, as Llama 3 has it, is not read.

    Added tokens come from every file that lists them (`tokenizer.added_tokens`). A prompt gets the
    token that the tokenizer puts before a text, and no token after it: the output continues the
    text, so `add_eos_token` and the end of a template do not apply.

    Raises TokenizerError, naming the file.
    """
    directory = Path(directory)
    config = read_config(directory)
    added = read_added_tokens(directory, config)
    model, spec = directory / "tokenizer.model", directory / "tokenizer.json"
    is_tiktoken = model.exists() and TIKTOKEN_LINE.match(model.read_bytes()) is not None
    if model.exists() and not is_tiktoken:
        try:
            return SentencePieceTokenizer(model.read_bytes(), config, added)
        except TokenizerError:
            raise
        except Exception as error:  # protobuf's and SentencePiece's errors share no narrower base
            raise TokenizerError(f"tokenizer.model: not a SentencePiece model: {error}") from error
    if spec.exists():
        return JsonTokenizer(spec.read_text("utf-8"), config, added)
    if is_tiktoken:
        raise TokenizerError(f"{model}: is in tiktoken's format, and there is no tokenizer.json")
    raise TokenizerError(f"{directory}: has neither tokenizer.model nor tokenizer.json")
