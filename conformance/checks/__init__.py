"""What a completions server must do, one file for each parameter. Black-box: over HTTP only."""
