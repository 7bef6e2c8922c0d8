"""What operators see, as plain text that reads well on 80 columns and through a pipe; the command line prints it."""
