"""gevent-websocket's part for gunicorn."""
