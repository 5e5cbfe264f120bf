"""A server with the page to try models, and what it serves."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from serving_models import save_color_model

from slimworks.components import contracts, files
from slimworks.components.serving.process import ServerProcess

MAX_BYTES = 1_000_000
HOSTILE = "<img src=x onerror=\"alert('a')\"><script>alert(1)</script>"
CARD = f"""# Model card: colours

| | |
| --- | ---: |
| Network | {HOSTILE} |

## Classes

1. red
"""
_CONFIG = """
model_config_list {{
  config {{
    name: "colors" base_path: "{base}/colors" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 3 versions: 5 versions: 9 }} }}
    version_labels {{ key: "stable" value: 3 }}
    version_labels {{ key: "canary" value: 5 }}
  }}
  config {{ name: "examples" base_path: "{base}/examples" model_platform: "tensorflow" }}
  config {{ name: "hostile" base_path: "{base}/hostile" model_platform: "tensorflow" }}
}}
"""


@contextlib.contextmanager
def tried(folder: Path, color: Path, blue: Path, examples: Path) -> Iterator[ServerProcess]:
    """`colors` with versions 3 (stable, all facts), 5 (canary, none) and 9 (broken); `examples`,
    which takes no images; `hostile`, whose names are markup and whose facts are broken.
    """
    for model, place in ((color, "colors/3"), (blue, "colors/5"), (examples, "examples/1")):
        shutil.copytree(model, folder / place)
    (folder / "colors" / "9").mkdir()
    _write_facts(folder / "colors" / "3", HOSTILE)
    cards = folder / "colors" / contracts.LEDGER_FOLDER / contracts.CARDS_FOLDER / "3"
    files.write_text(cards / contracts.MODEL_CARD_FILE, CARD)
    names = (HOSTILE, '"><b onmouseover=alert(2)>', "</li></ol>")
    hostile = save_color_model(folder / "hostile" / "1", class_names=names)
    files.write_text(hostile / "assets.extra" / contracts.MODEL_FACTS_FILE, f'{{"net": {HOSTILE}}}')
    files.write_text(folder / "models.config", _CONFIG.format(base=folder))
    flags = (
        f"--model_config_file={folder / 'models.config'}", "--enable_try_page",
        "--allow_version_labels_for_unavailable_models", f"--max_message_bytes={MAX_BYTES}",
    )  # fmt: skip
    with ServerProcess(folder, "unused", extra_flags=flags) as server:
        yield server


def _write_facts(version: Path, class_name: str) -> None:
    extra = version / contracts.EXTRA_ASSETS_FOLDER
    model = {
        "net": "mobilenet_v1", "image_size": 96, "num_train_images": 1234,
        "class_names": ["red", class_name], "checkpoint_path": "/secret/place/mobilenet_v1.ckpt",
        "class_counts": {"red": 1000, class_name: 234}, "best_eval_accuracy": 0.5,
        contracts.LABEL_MAP_VERSION: 2,
    }  # fmt: skip
    published = {
        "run_id": "20261122-024500-ab12", "time": 1_795_260_474.6,
        "metrics": {"accuracy": 0.91, "accuracy_interval": [0.85, 0.95], "num_images": 105},
    }  # fmt: skip
    files.write_json(extra / contracts.MODEL_FACTS_FILE, model)
    files.write_text(extra / contracts.PUBLISHED_FACTS_FILE, json.dumps(published))
