"""S3 over the service's own buckets, with path-style addresses; read only.

Reference: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from worker.local.s3.service import S3

__all__ = ["S3"]
