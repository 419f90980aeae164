"""The documentation site: `make docs` builds it with Sphinx, and treats warnings as errors.

stage        the pages of the repository, and those that are generated, as Sphinx's source
links        links to source files, which get pages of their own
parameters   a page for each parameter
vectors      its test vectors, and what other engines answer
chart        distributions before and after a step of the sampler, and draws
lessons      links to the page of explanations with prepared settings
recording    explained completions of the embedded model
page         the page of explanations over the recording
conf         Sphinx's settings
"""
