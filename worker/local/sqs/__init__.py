"""SQS's standard queues: their messages, attributes, redrive and long polls."""
