"""Maps pipeline/ and components/ into the slimworks package.

The packages are listed explicitly: `slimworks/` holds links to the two folders, and
find_packages would follow them and return every package twice.
"""

from pathlib import Path

import setuptools

ROOTS = {"slimworks.pipeline": "pipeline", "slimworks.components": "components"}


def _packages() -> list[str]:
    names = ["slimworks"]
    for name, folder in ROOTS.items():
        for init in sorted(Path(folder).rglob("__init__.py")):
            names.append(".".join((name, *init.parent.relative_to(folder).parts)))
    return names


setuptools.setup(
    packages=_packages(),
    package_dir={"slimworks": "slimworks", **ROOTS},
)
