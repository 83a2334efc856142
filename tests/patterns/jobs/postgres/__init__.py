"""The PostgreSQL store, piece by piece. What all stores do is in `test_store.py` of the folder above."""
