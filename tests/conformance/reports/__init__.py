"""Tests of conformance/reports.

test_reports   HTML, JUnit, Markdown and terminal output
"""
