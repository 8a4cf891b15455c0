"""Appointments."""

from types import SimpleNamespace

from pydantic import BaseModel

from app.application import app


class AppointmentCreate(BaseModel):
    patient_id: int
    note: str = ""


def create_appointment_in_db(data):
    if data.note:
        raise RuntimeError(f"no slot for {data.note}")
    return SimpleNamespace(id=data.patient_id + 1)


import time
from app.core.logging import logger

@app.post("/api/v1/appointments")
async def create_appointment(data: AppointmentCreate):
    start_time = time.time()

    try:
        appointment = create_appointment_in_db(data)
        duration = time.time() - start_time

        logger.info(
            "Appointment created",
            extra={
                "appointment_id": appointment.id,
                "duration_ms": duration * 1000,
                "patient_id": data.patient_id,
            }
        )

        return appointment
    except Exception as e:
        duration = time.time() - start_time
        logger.error(
            "Failed to create appointment",
            extra={
                "duration_ms": duration * 1000,
                "error": str(e),
            },
            exc_info=True
        )
        raise
