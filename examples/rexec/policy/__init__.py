"""Who may run what: the rules, the file that they stand in, and what a rule makes of a request.

A request (`messages.Run`) and the rule of its caller go in; an order comes out, in which everything is decided: the
words, the environment, the folder, the user, the limits. Or else a `StartError`, with a line that says which rule does
not allow what. A server without a policy has one with a single rule that allows anything, so there is one way only.

`policy` has the rules and decides, `names` says how rules may call a peer, `patterns` what a pattern of words matches,
`file` reads the rules and reads them again when the file changes, `users` knows the users of this system, and `order`
is what is decided.
"""
