"""Tests of conformance/http.

test_exchange   recorded requests, and the redaction of keys
test_client     servers that are busy, drop the connection, or never end a response
"""
