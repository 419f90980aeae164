"""Tests of access to the endpoint: API keys, web pages."""
