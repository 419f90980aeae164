"""Tests of response bodies: their pieces, and large ones."""
