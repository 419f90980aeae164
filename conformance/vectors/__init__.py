"""Test vectors: cases with expected results for a sampler in any language, without a server.

lines         JSON lines: numbers, headers, cases
families      the type of a family, and JSON Schemas of its fields
pieces        a tokenizer that is a list of byte strings; the vocabulary of the grammar cases
margins       the distance of a case from a result that rounding could change
reference     the reference as a program that answers cases
cases         the cases, a file for each topic
generation    writes `vectors/`
folder        reads `vectors/`, and selects cases
comparing     an answer compared with the expected one, and with those of dialects
samples       sampled tokens tested against a distribution
program       the program under test, over stdin and stdout
checking      cases, program and comparison put together
__main__      python -m conformance.vectors: the reference, as such a program
"""
