"""Moderates whole video archives with Amazon Rekognition Video and keeps every label in PostgreSQL."""
