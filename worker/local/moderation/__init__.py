"""The two operations of content moderation, the quotas on them, and the jobs between them."""
