"""What the guide sets in the environment."""

import os

DATABASE_URL = os.environ["DATABASE_URL"]
LOG_LEVEL = os.getenv("LOG_LEVEL", "INFO")
HIPAA_AUDIT_ENABLED = os.getenv("HIPAA_AUDIT_ENABLED", "True") == "True"
HIPAA_AUDIT_LOG_DIR = os.getenv("HIPAA_AUDIT_LOG_DIR", "./logs/audit")
