"""The loggers. The guide describes this file and shows the handler; the rest is
what its words ask for."""

import json
import logging
import os
import time
from datetime import datetime, timezone

from pythonjsonlogger import jsonlogger

from app.core.config import HIPAA_AUDIT_ENABLED, HIPAA_AUDIT_LOG_DIR, LOG_LEVEL

os.makedirs("logs", exist_ok=True)

from logging.handlers import RotatingFileHandler

# Rotate when file reaches 10MB or daily
handler = RotatingFileHandler(
    "logs/app.log",
    maxBytes=10_000_000,  # 10MB
    backupCount=10  # Keep 10 old files
)

handler.setFormatter(jsonlogger.JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
# UTC, as Millrace takes times without a zone.
handler.formatter.converter = time.gmtime

logger = logging.getLogger("app")
logger.setLevel(LOG_LEVEL)
logger.addHandler(handler)

# The one line for a shop to add: no middleware sees an exception that nobody
# handles, so that only the server tells of it.
logging.getLogger("uvicorn.error").addHandler(handler)

audit = logging.getLogger("audit")
audit.setLevel(logging.INFO)
audit.propagate = False
if HIPAA_AUDIT_ENABLED:
    os.makedirs(HIPAA_AUDIT_LOG_DIR, exist_ok=True)
    audit.addHandler(logging.FileHandler(os.path.join(HIPAA_AUDIT_LOG_DIR, "audit.log")))


def log_audit_event(user_id, action, resource, details=None, success=True):
    """Writes a line in the format that the guide shows."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    audit.info(json.dumps({
        "timestamp": now.replace("+00:00", "Z"),
        "user": user_id,
        "action": action,
        "resource": resource,
        "details": details or {},
        "success": success,
    }))
