"""The options of the server.

arguments    the command line
config       the environment and a TOML file
"""
