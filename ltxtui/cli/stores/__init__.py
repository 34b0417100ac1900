"""What commands do with runs on object stores, such as `s3://bucket/runs`."""
