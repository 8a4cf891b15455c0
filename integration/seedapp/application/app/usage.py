"""How the guide uses the loggers: run once, when the application starts."""

from app.core.logging import logger

# Log at different levels
logger.debug("Processing patient data")
logger.info("User logged in", extra={"user_id": 123})
logger.warning("High memory usage detected")
logger.error("Failed to save appointment", exc_info=True)
logger.critical("Database connection lost")

from app.core.logging import logger
import logging

# Create context logger
logger = logging.getLogger("app")

# Log with structured data
logger.info(
    "Patient created",
    extra={
        "user_id": 123,
        "patient_id": 456,
        "action": "create",
        "details": {
            "name": "John Doe",
            "age": 45,
            "email": "john@example.com"
        }
    }
)

from app.core.logging import log_audit_event

# Log user action
log_audit_event(
    user_id="doc_123",
    action="UPDATE",
    resource="patient_456",
    details={
        "field": "diagnosis",
        "old_value": "eczema",
        "new_value": "psoriasis"
    },
    success=True
)
