"""What is on disk: SQLAlchemy Core tables, Alembic migrations, one writer with group commit."""
