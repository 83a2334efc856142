"""Kinds of trouble, each tried on all commands of both programs: one table of commands, one test for each kind."""
