"""A work queue: jobs are brought, workers ask for them, and each comes to one counted outcome (protocol section 14).

store       what a queue needs of whatever keeps its jobs
grouped     what is called while a transaction is under way goes together into the next one
sqlite      a store in an SQLite file;  sqlite_file: whose it is;  sqlite_jobs: how jobs move on;  sqlite_tables: SQL
postgres    a store in a PostgreSQL database, which other queues may share: a room of its own
"""
