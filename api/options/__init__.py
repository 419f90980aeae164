"""The options of the server.

argument_types    from a text to a value
arguments         the command line
config            the environment and a TOML file
"""
