"""Tests of the replicas behind Ray Serve."""
