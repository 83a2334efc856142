"""Messages to bytes and back (protocol section 8): msgpack, and a table of the ends in a message.

    encode      values to bytes; what is plain goes a short way
    decode      bytes to values; nothing much is made because a header claims it
    framing     where a message begins and ends, and its table of ends
    pieces      long messages in pieces, so that what is long in them is copied once
    counting    how many values a message holds, before any of them is made

What a message may hold, ends and plain data, is said in `chanlink.channels.values`. No end is known here by more than
its place in the table: whoever decodes says what stands for it.
"""
