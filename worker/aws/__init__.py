"""AWS as this program uses it: every call is tried once, every error leaves here as an `AwsError` with its verdict."""
