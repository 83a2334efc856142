"""TLS 1.3 in the place of Noise (protocol section 18), for peers that want TLS itself.

`nacl_tls` is what programs name. TLS itself is that of chanlink/transport/tls.py; the certificate that a server shows
is one of this process, with a word of our identity in it (certificate.py), and the client proves itself by the first
bytes inside (handshake.py). What remains is a stream of records as after Noise, but that their keys are TLS's
(stream.py).
"""
