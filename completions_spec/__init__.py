"""The command line of an installed copy: completions-spec serve, conformance, explain, bench.

    imports     puts the project's own packages first on the import path
    commands    the subcommands
    __main__    python -m completions_spec

A wheel has the five rooms and the HTTP benchmark in `completions_spec/packages/`, not at the top
level of `site-packages`: names such as `api` are common (decision 26). In the repository they are
next to this folder.
"""
