"""Third-party servers on one checkpoint, for the checks to ask over HTTP: see README.md."""
