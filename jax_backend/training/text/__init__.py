"""The embedded language model: generated text, and training on it. In reading order:

__main__       The command: tokenizer, training, export, report.
words          The vocabulary of the generated text.
random_source  Random choices that count their information content.
stories        Short stories.
records        JSON records, lists, questions with answers.
corpus         Documents from a seed: a mixture of these.
tokenizer      SentencePiece training.
model          The model under training, in functional style.
train          The training loop.
export         Writing a Hugging Face directory.
report         Held-out loss and samples, written to docs/embedded-model.md.
"""
