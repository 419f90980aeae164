"""Tests of one model on several processes."""
