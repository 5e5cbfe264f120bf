"""Modules of ours as processes of their own."""

from __future__ import annotations

import sys

# As `python -m`, without the current folder: a json.py among the images must be no module. Python
# puts it first, and can be told not to by an option from 3.11 on only (docs.python.org, -P).
_WITHOUT_CURRENT_FOLDER = "import sys; sys.path[:] = filter(None, sys.path); "
_RUN = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module, wherever it is started."""
    return [sys.executable, "-c", _WITHOUT_CURRENT_FOLDER + _RUN, module, *arguments]


def code_command(code: str) -> list[str]:
    """The same for a line of code, which may use `sys`."""
    return [sys.executable, "-c", _WITHOUT_CURRENT_FOLDER + code]
