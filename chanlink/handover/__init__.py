"""What a daemon that has the keys and a program that has the sessions say to each other (protocol section 16).

messages       what is said, and how it is read
passing        a `Line`: the socket between the two, which carries descriptors too
folder         where the sockets are
"""
