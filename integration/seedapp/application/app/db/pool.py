"""A pool that three requests exhaust, for the engine of the guide, which is made
of a URL alone: SQLAlchemy asks the plugin that the URL names."""

from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin


class SmallPool(CreateEnginePlugin):
    def __init__(self, url, kwargs):
        kwargs.update(pool_size=3, max_overflow=0, pool_timeout=1)


plugins.register("smallpool", __name__, "SmallPool")
