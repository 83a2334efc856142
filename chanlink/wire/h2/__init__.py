"""HTTP/2 between our own endpoints (protocol sections 4 and 4.2): the only room that knows h2, hyperframe and hpack.

    frames          cut from bytes as they arrive; what is made of them
    connection      `Connection`: h2's, but for what costs much or is wrong between two of ours, and why it is
    headers         header fields: the plainest form goes out, any form comes in
    rules           which rule a peer has broken, in words of the protocol page

h2 keeps the states of streams, so that what is illegal is refused as in any HTTP/2; what we say is over is said in
`chanlink.wire.stream`, because h2 closes a stream without a word when it is asked for something illegal.
"""
