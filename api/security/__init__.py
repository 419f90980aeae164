"""Access to the server.

auth       API keys
hosts      names of this machine in `Host` and `Origin`
origins    protection from web pages, CORS
"""
