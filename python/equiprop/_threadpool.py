"""Registers the core's threads with threadpoolctl, if it is installed, so that it can count and limit them.

threadpoolctl must know the core before a program calls it. The import takes 2 ms of the 130 ms that
``import equiprop`` takes.
"""

from __future__ import annotations

from equiprop import _core

try:
    from threadpoolctl import LibController, register
except ImportError:  # not installed, or older than 3.2
    pass
else:

    class CoreController(LibController):  # type: ignore[misc]
        """Reads and sets the number of threads of the core for threadpoolctl."""

        user_api = "equiprop"
        internal_api = "equiprop"
        filename_prefixes = ("_core",)
        # Other packages have an extension named _core, too, without these symbols.
        check_symbols = ("equiprop_get_num_threads", "equiprop_set_num_threads")

        def get_num_threads(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Return the number of threads."""
            return int(self.dynlib.equiprop_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            """Set the number of threads."""
            self.dynlib.equiprop_set_num_threads(num_threads)

        def get_version(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Return the version of equiprop."""
            return _core.version

    register(CoreController)
