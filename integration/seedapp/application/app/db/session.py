"""Sessions on the engine, which a session of the guide has as an attribute."""

from sqlalchemy import orm

from app.db.engine import engine


class Session(orm.Session):
    engine = engine


SessionLocal = orm.sessionmaker(bind=engine, class_=Session)
