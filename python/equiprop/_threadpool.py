"""Lets threadpoolctl see and limit the threads of the core, if it is installed.

It has to know of them before a program asks it for limits, so it is imported here, whoever needs it
later: 2 ms of the 130 that importing equiprop takes.
"""

from __future__ import annotations

from equiprop import _core

try:
    from threadpoolctl import LibController, register
except ImportError:  # not installed, or older than 3.2
    pass
else:

    class CoreController(LibController):  # type: ignore[misc]
        """What threadpoolctl asks and tells the core."""

        user_api = "equiprop"
        internal_api = "equiprop"
        filename_prefixes = ("_core",)
        check_symbols = ("equiprop_get_num_threads", "equiprop_set_num_threads")  # there are other _core's

        def get_num_threads(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Return the number of threads."""
            return int(self.dynlib.equiprop_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            """Use so many threads from now on."""
            self.dynlib.equiprop_set_num_threads(num_threads)

        def get_version(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Return the version of equiprop."""
            return _core.version

    register(CoreController)
