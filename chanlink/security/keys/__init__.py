"""Who we are, and whom we trust: Ed25519 keys in OpenSSH's formats, and the files that name them.

Our own key is an `Identity` (identity.py): read from a file of ssh-keygen's (openssh.py; passphrase.py if it is
locked), made at first use, or kept by an ssh-agent (ssh_agent.py), which signs and never shows it. Nothing but
signatures comes of it. For each process it signs a `Certificate` (certificate.py): this static key of Noise is mine,
in this role, for a day.

Whom we trust stands in files in the syntax of OpenSSH: a server's `Trust` (trust.py) is ``authorized_keys``, and says
which services each key may use; a client's `KnownPeers` (known_peers.py) is ``known_hosts``, and says which key the
server at an address has. `Expected` (expected.py) is what `connect` makes of the two and of a key that it was given.
Both have their lines in common (syntax.py). Whoever writes one means *that and no more*: what is not understood to its
last character is an error, and never a grant.

All of them lie in files that others change at the same time (files.py), and are read in threads that no peer can keep
busy (threads.py). Only ssh-agent is talked to over a socket; apart from that and from `watch`, all is synchronous.
"""
