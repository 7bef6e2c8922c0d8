"""The local moderation service: Rekognition Video, SQS, S3 and STS on this machine, over HTTP."""
