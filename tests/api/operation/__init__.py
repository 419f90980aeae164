"""Tests of running a server: start, probes, admission, shutdown."""
