"""What the test makes happen. None of this is the guide's."""

import asyncio
import subprocess
from types import SimpleNamespace

import psutil
from fastapi import Response
from sqlalchemy import text

from app.application import app
from app.core.config import DATABASE_URL
from app.core.logging import log_audit_event, logger
from app.db.session import SessionLocal

# What the machine measures is not the test's to choose, so the drill chooses it.
machine = {"cpu": 12.0}
psutil.cpu_percent = lambda interval=None: machine["cpu"]
psutil.virtual_memory = lambda: SimpleNamespace(percent=40.0)
psutil.disk_usage = lambda path: SimpleNamespace(percent=50.0)

held = []


@app.get("/patients/{number}")
async def patient(number: int, status: int = 200, wait: float = 0):
    await asyncio.sleep(wait)
    return Response(status_code=status)


@app.post("/patients/{number}/diagnosis")
def diagnose(number: int, body: dict):
    log_audit_event("doc_123", "UPDATE", f"patient_{number}", body)
    with SessionLocal.begin() as db:  # what the database says of a bad code, nobody handles
        db.execute(text("INSERT INTO diagnoses VALUES (:name, :old_value, :new_value)"), body)


@app.get("/drill/query")
def query(name: str, ssn: str):
    with SessionLocal() as db:
        db.execute(text(f"SELECT pg_sleep(1.2), '{ssn}' AS ssn, :name AS name"), {"name": name})


@app.post("/drill/cpu/{percent}")
async def cpu(percent: float):
    machine["cpu"] = percent


@app.post("/drill/pool/{action}")
def pool(action: str):
    if action == "hold":
        while len(held) < 3:
            session = SessionLocal()
            session.execute(text("SELECT 1"))
            held.append(session)
    while action == "release" and held:
        held.pop().close()


@app.post("/drill/backup")
def backup(to: str):
    logger.info("Job started", extra={"job": "nightly-backup"})
    dump = ["pg_dump", "--dbname", DATABASE_URL, "--file", to]
    try:
        subprocess.run(dump, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as e:
        failure = {"job": "nightly-backup", "exit_code": e.returncode, "stderr": e.stderr}
        logger.error("Job failed", extra=failure, exc_info=True)
        return Response(status_code=202)
    logger.info("Job finished", extra={"job": "nightly-backup", "exit_code": 0})
