"""What looks at a stored video and says what is to be seen in it."""
