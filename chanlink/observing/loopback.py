"""What is served by HTTP to this machine alone is not for the pages of others, which browsers here may have open.

Such a page has a name of its own, which its owner lets stand for 127.0.0.1 (DNS rebinding): to the browser it is where
the page is from, and the page may read what we answer. But a request says the name that the browser has for us.
"""

import re

_OURS = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)


def is_for_loopback(request: str) -> bool:
    """Whether the head of a request has one Host, and that is loopback by an own name, at whatever port."""
    fields = [line.partition(":") for line in request.split("\r\n")[1:]]
    hosts = [value.strip() for name, _, value in fields if name.lower() == "host"]
    return len(hosts) == 1 and _OURS.fullmatch(hosts[0]) is not None
