"""What outlives the process: the SQLite file, the clock that goes on in it, and the rows of jobs."""
