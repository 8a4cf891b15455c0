"""The engine, and the record of slow queries."""

import time

import app.db.pool
from app.core import config
from app.core.logging import logger

DATABASE_URL = config.DATABASE_URL + "?plugin=smallpool"

# In database configuration
from sqlalchemy import event, create_engine

engine = create_engine(DATABASE_URL)

@event.listens_for(engine, "before_cursor_execute")
def before_cursor_execute(conn, cursor, statement, parameters, context, executemany):
    conn.info.setdefault('query_start_time', []).append(time.time())

@event.listens_for(engine, "after_cursor_execute")
def after_cursor_execute(conn, cursor, statement, parameters, context, executemany):
    total_time = time.time() - conn.info['query_start_time'].pop(-1)

    # Log slow queries (> 1 second)
    if total_time > 1.0:
        logger.warning(
            "Slow database query",
            extra={
                "query": statement[:100],  # First 100 chars
                "duration_ms": total_time * 1000,
                "parameters": str(parameters)[:100],
            }
        )
