"""Checks that hold a backend, or any server, against the specification."""
