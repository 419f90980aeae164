"""Tokenizers: text to token ids and back, without loss.

Reading order:

    protocol        the interface of a tokenizer
    detokenizer     token ids to text, incrementally
    vocabulary      the tokens as bytes, as data for the backends
    loader          `load_tokenizer`: picks the kind of a checkpoint's tokenizer
    sentencepiece   tokenizers stored as `tokenizer.model`
    hf_json         tokenizers stored as `tokenizer.json`
    added_tokens    texts that are one token, from every file that lists some
    bounds          upper bounds on the number of text bytes per token
    files           parsing of tokenizer files, shared by both kinds
"""
