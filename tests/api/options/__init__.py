"""Tests of `api/options`."""
