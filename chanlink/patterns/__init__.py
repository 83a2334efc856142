"""What is built on channels and sessions, and could have been built by a user: patterns of working together.

A file here uses public names only. It takes them from the rooms that define them, since ``chanlink/__init__.py``
imports it; what it needs of the inside nevertheless is listed in ``tests/test_layers.py``, each with a reason.

    inspection    what sessions are doing just now: for this program, and as the service that ``chanlink top`` asks
"""
