"""Compiles the hot path where there is Cython and a C compiler; without them the library is the same, only slower."""

import os
import sys
from contextlib import suppress

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODULES = ("kernels", "frames", "messages", "protocol", "switching", "stacks", "heartbeat", "hubs", "transport")
MODULES += ("connection", "sending", "receiving", "websocket", "broadcast")
WITH_TWINS = ("kernels", "switching", "stacks")
"""Written in Cython, with a twin of the same name in Python; the others are compiled as they are."""
OPTIONS = ["-O3", "-g0", "-Werror=incompatible-pointer-types"]  # an error in GCC from 14 on
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
SANITIZED += ["--param", "asan-stack=0"]  # what ASan knows of the stack is wrong once greenlet has moved a part of it
DIRECTIVES = {
    "language_level": "3",
    "annotation_typing": False,
    "boundscheck": False,
    "wraparound": False,
    "always_allow_keywords": True,
    "embedsignature": True,
}


class OptionalBuild(build_ext):
    """Goes on without the compiled part where a module of it cannot be built, and says so once."""

    def run(self):
        self.parallel = os.cpu_count()
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 (whatever a missing or broken compiler makes of it)
            self._remove_what_was_built()
            self.extensions.clear()
            print(f"geventws: goes without its compiled part: {error}", file=sys.stderr)

    def _remove_what_was_built(self):
        """Compiled modules use each other in C, so that some of them without the others cannot be imported."""
        for extension in self.extensions:
            with suppress(FileNotFoundError):
                os.remove(self.get_ext_fullpath(extension.name))


def extensions():
    if os.environ.get("GEVENTWS_PURE_PYTHON"):
        return []
    import greenlet
    from Cython.Build import cythonize

    headers = os.path.dirname(os.path.dirname(greenlet.__file__))  # greenlet/greenlet.h lies in its package
    sanitize = bool(os.environ.get("GEVENTWS_SANITIZE"))
    options = SANITIZED if sanitize else OPTIONS
    sources = {name: f"geventws/{name}.{'pyx' if name in WITH_TWINS else 'py'}" for name in MODULES}
    made = [
        Extension(
            f"geventws.{name}",
            [source],
            include_dirs=[headers],
            extra_compile_args=options,
            extra_link_args=SANITIZED if sanitize else [],
        )
        for name, source in sources.items()
    ]
    return cythonize(made, compiler_directives=DIRECTIVES, build_dir="build/cython")


# In a directory of their own: setuptools takes an object that is newer than its source for one that it need not build.
BUILD = {"build_base": "build/sanitized"} if os.environ.get("GEVENTWS_SANITIZE") else {}

setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild}, options={"build": BUILD})
