"""What the process shows over HTTP."""
