"""Tests of the benchmarks that are part of the wheel."""
