"""Tests of conformance/reports.

test_reports   HTML, JUnit, Markdown and terminal output
test_site      the site of several servers, recorded reports, badges
"""
