"""A worker class of a user's own."""

from __future__ import annotations

from geventws.integrations.gunicorn import Worker


class Impatient(Worker):
    close_code = 4002
    close_over = 0
