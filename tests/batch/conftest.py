from tests.lakes import lake, s3  # noqa: F401
