"""SQL that is built with SQLAlchemy, which quotes every name and value."""
