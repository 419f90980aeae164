"""Ways to break a server.

engine        the app under test; other sampling, other requests to the engine, other events from it
requests      HTTP requests that are changed before the app reads them, or go to another app
responses     HTTP responses that are changed before they are sent
sixteen_bits  models whose operations round to bfloat16 or float16
"""
