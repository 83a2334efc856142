"""A store in a PostgreSQL database, which any number of processes may share.

store           `PostgresStore`, as its queue sees it: tasks and threads
moves           what a group of verbs does, in one transaction
rows            what a verb does with a job
watching        what the others do: what is new, who is dead, what is due, what is to be forgotten
others          who is dead
statements      those of moves and of watching;  schema: the tables
connection      a connection that is made when it is needed, and again when it is lost
"""
