"""What gevent-websocket's own examples take from there for programs that also ran under Python 2."""

from __future__ import annotations

PY2, PY3 = False, True
text_type = str
string_types = (str,)
range_type = range
