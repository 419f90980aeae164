"""How fast this is, beside what it could be: ratios, measured in one run."""
