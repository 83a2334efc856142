"""Looks at the documentation as it was built, with the eyes of a browser."""
