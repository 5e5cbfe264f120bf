"""Which documents are run, and what lies in the folder that they are run in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from code_blocks import RUN_LANGUAGES, Block, code_blocks

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@dataclasses.dataclass(frozen=True)
class Page:
    """A document whose blocks are run one after the other in one folder.

    Attributes:
        needs: Besides the photos, what an earlier page made: `run` (a finished run), `examples`
            (`ingested/` and `examples/`), `model` (`model/`), `serving` (`serving/photos/` and
            `models/new/`), `log` (a request log).
        served: Name of the model of a server that is running.
        replaced: Text of the page by what stands for it: names and numbers of one's own.
    """

    needs: tuple[str, ...] = ()
    served: str = ""
    replaced: Mapping[str, str] = dataclasses.field(default_factory=dict)


PAGES: Mapping[str, Page] = {
    "README.md": Page(),
    "docs/checkpoints.md": Page(replaced={"imagenet_labels.txt": "imagenet_labels_1001.txt"}),
    "docs/clients.md": Page(needs=("serving",), served="flowers"),
    "docs/data.md": Page(),
    "docs/distribution.md": Page(needs=("examples",)),
    "docs/drift.md": Page(needs=("run", "log"), replaced={"20261121-0530": "{run_id}"}),
    "docs/engines.md": Page(),
    "docs/faq.md": Page(),
    "docs/evaluation.md": Page(needs=("examples", "model")),
    "docs/index.md": Page(),
    "docs/ingest.md": Page(),
    "docs/kubeflow.md": Page(replaced={"REGISTRY": "registry.example"}),
    "docs/migration.md": Page(),
    "docs/migration-folders.md": Page(),
    "docs/migration-keras.md": Page(),
    "docs/migration-tfx.md": Page(needs=("run",)),
    "docs/own-networks.md": Page(),
    "docs/publishing.md": Page(replaced={"/srv/models": "{folder}/models"}),
    "docs/python.md": Page(
        replaced={
            '"train.epochs": 5': '"train.epochs": 5, "model.net": "lenet", "train.batch_size": 16, '
            '"train.optimizer": "adam", "train.learning_rate": 0.002'
        }
    ),
    "docs/report.md": Page(
        needs=("run",), replaced={"20261121": "{run_id}", "card 3": "card 1"}
    ),
    "docs/serving.md": Page(
        needs=("serving",), replaced={"/etc/models.config": "{folder}/models.config"}
    ),
    "docs/shadow.md": Page(
        needs=("serving", "log"), replaced={"host:": "127.0.0.1:", "tfserving:": "127.0.0.1:"},
        served="photos",
    ),
    "docs/tracking.md": Page(),
    "docs/try-page.md": Page(needs=("serving",)),
    "docs/watching.md": Page(needs=("run", "examples", "model"), replaced={"RUN": "{run_id}"}),
}  # fmt: skip


def follower(path: Path) -> Path | None:
    """The test that follows a tutorial; None for other documents."""
    if path.parent.name != "tutorials":
        return None
    return ROOT / "tests/tutorials" / f"test_{path.stem.replace('-', '_')}.py"


def name(path: Path) -> str:
    """Of a document, from the root."""
    return path.relative_to(ROOT).as_posix()


def run_blocks(path: Path) -> list[Block]:
    """Blocks of a document that are run."""
    return [
        block
        for block in code_blocks(path)
        if block.language in RUN_LANGUAGES and not block.not_run
    ]
