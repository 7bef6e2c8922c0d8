"""What requests and answers are made of: callers, shapes, refusals, JSON and XML."""
