"""One module for each framework or server that wants more than `wsgi` gives; each imports what it is for."""
