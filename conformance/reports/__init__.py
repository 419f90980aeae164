"""A run, or several side by side, for people and for programs."""
