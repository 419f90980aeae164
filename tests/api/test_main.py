"""The command line, as far as no model is needed, and the end of a server."""
