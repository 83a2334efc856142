"""Sessions that outlive their connections, against somebody who does to these whatever can be done (tests/attacker).

`acts` is what he does, `exchange` what a client and a server tell each other meanwhile, and how both would notice that
something was lost, doubled, or came out of order; `campaign` runs one against the other, for long by
`make resume-kills`.
"""
