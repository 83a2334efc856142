"""Directories on an etcd of three, of which directories and servers of etcd are killed at random while many look up.

`python -m tests.directory_kills --rounds N` (`make directory-kills`). A short one is among the tests.
"""
