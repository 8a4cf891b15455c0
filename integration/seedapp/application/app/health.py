"""The health of the machine and of the database."""

from app.application import app
from app.core.logging import logger

import psutil

def check_system_health():
    cpu_percent = psutil.cpu_percent(interval=1)
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage('/')

    health = {
        "cpu": cpu_percent,
        "memory_percent": memory.percent,
        "disk_percent": disk.percent,
        "healthy": (
            cpu_percent < 80 and
            memory.percent < 85 and
            disk.percent < 90
        )
    }

    if not health["healthy"]:
        logger.warning("System health degraded", extra=health)

    return health

@app.get("/health/system")
async def system_health():
    return check_system_health()

from app.db.session import SessionLocal

@app.get("/health/database")
async def database_health():
    try:
        db = SessionLocal()
        db.execute("SELECT 1")
        db.close()

        pool = db.engine.pool
        return {
            "status": "healthy",
            "connections": {
                "size": pool.size(),
                "checkedout": pool.checkedout(),
            }
        }
    except Exception as e:
        logger.error("Database health check failed", exc_info=True)
        return {
            "status": "unhealthy",
            "error": str(e)
        }
