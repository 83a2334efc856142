"""The works, one module for each: ``rows()`` makes its rows of the table."""
