"""The tests, in packages that mirror the code.

Files, in reading order:

    conftest         fixtures of every test
    support          helpers: strategies, texts, oracles
    goldens          recorded outputs of other implementations, and the scripts that recorded them
    reference        tests of `reference`
    jax_backend      tests of `jax_backend`
    api              tests of `api`
    conformance      tests of `conformance`, and mutants that its checks must detect
    test_parameters  every parameter has an effect, documentation and a demonstration
    test_coverage    every parameter has a twin, a check and a mutant
    test_vision      the embedded vision-language model
    test_style       vocabulary, docstrings, test titles, sizes and import cycles

`checked` is the run-time type checker of the tests: an int is a float, as in PEP 484.
"""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
