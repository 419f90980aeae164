"""Tests of the conformance checks: the reference passes each of them, and each fails a mutant.

tiny_models           random checkpoints, text-only and vision-language
mutations             ways to break a server
mutants               broken servers, and the checks that must fail them
factories             results, reports and exchanges without a server
conftest              the tiny models as fixtures, and an app on a socket
test_reference        the reference passes every check
test_mutants          every mutant fails its checks, and every check fails a mutant
test_action           the GitHub action
test_sixteen_bits     servers in 16 bits: no finding without a fault, and faults are detected
harness, http, oracle, fixtures, cli, reports, third_party, vectors
                      tests of the packages of `conformance` with these names
matrix                runs every mutant against every check of its parameter
power                 runs mutants that compute in bfloat16
generate_docs         writes docs/conformance/checks.md, mutants.md and power.md
test_generated_docs   the pages are up to date
"""
