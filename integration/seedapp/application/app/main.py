"""The application: uvicorn app.main:app --no-access-log"""

import app.usage
import app.middleware
import app.metrics
import app.health
import app.appointments
import app.drills
from app.application import app
