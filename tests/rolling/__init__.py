"""Servers that are replaced, one process by the next, under calls of which none may be lost: ``make rolling``."""
