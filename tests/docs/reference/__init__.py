"""docs/reference, where the code says of itself what is looked up: `make reference` writes it.

The pages are committed; tests/docs/test_reference.py tells when they are no longer what the code says.
"""
