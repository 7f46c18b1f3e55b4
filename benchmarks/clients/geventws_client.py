from __future__ import annotations

import gevent
from common import run_blocking

from geventws import connect

run_blocking(connect, gevent.spawn)
