"""Importing this sets Django up. A process has one set of settings; each module of tests has its own URLs."""

from __future__ import annotations

import django
from django.conf import settings

DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "ATOMIC_REQUESTS": True}

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="test_django",
        SECRET_KEY="secret",
        STATIC_URL="/static/",  # the look for leaks asks each object for its class, Django's lazy ones as well
        LOGGING_CONFIG=None,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
        DATABASES={"default": DATABASE, "other": dict(DATABASE)},
    )
    django.setup()
