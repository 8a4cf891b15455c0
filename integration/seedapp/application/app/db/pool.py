"""A pool that three requests exhaust, for the engine of the guide, which is made
of a URL alone: SQLAlchemy asks the plugin that the URL names."""

import time

from sqlalchemy import event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin
from sqlalchemy.pool import QueuePool


class SmallPool(CreateEnginePlugin):
    def __init__(self, url, kwargs):
        kwargs.update(poolclass=QueuePool, pool_size=3, max_overflow=0, pool_timeout=1)
        kwargs["connect_args"] = {"check_same_thread": False}

    def engine_created(self, engine):
        @event.listens_for(engine, "connect")
        def connect(connection, record):
            connection.create_function("pg_sleep", 1, time.sleep)


plugins.register("smallpool", __name__, "SmallPool")
