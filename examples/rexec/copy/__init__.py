"""Copies files and folders, there, back, and between two other machines.

A copy has two sides, each of which is a function of channel ends: `sending` reads files and says what is in them,
`receiving` takes that and writes it. `client` makes the channels and has each side run where its files are, here or by
the service (`service`) at the other end of a session. Between two other machines the bytes take the way through
whoever asked for the copy, where chanlink relays them. `messages` says what the sides say to each other.

Below the two: `place` opens paths without being led elsewhere, `walk` finds what is to be sent, `target` is the folder
that is written to, `part` is a file that is not complete yet, `report` tells how it goes, `threads` runs what blocks,
and `rules` asks a policy who may copy.
"""
