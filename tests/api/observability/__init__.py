"""Tests of `api/observability`."""
