"""Long runs that show what is promised; each program prints one JSON object, and nothing that is wrong is forgiven."""
