"""The documentation site: `make docs` builds it with Sphinx, and treats warnings as errors.

stage        the pages of the repository, and those that are generated, as Sphinx's source
links        links to source files, which get pages of their own
parameters   a page for each parameter
chart        distributions before and after a step of the sampler
conf         Sphinx's settings
"""
