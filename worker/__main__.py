"""`python -m worker` is `modworker`."""

from worker.cli import main

if __name__ == "__main__":
    main()
