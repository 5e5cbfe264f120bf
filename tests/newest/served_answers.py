"""Serves a model in this environment, asks it, and prints its answers to photos as JSON.

usage: served_answers.py BASE_PATH PHOTO...    BASE_PATH holds a folder per version
"""

from __future__ import annotations

import importlib.metadata
import json
import sys

from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess


def main(base_path: str, *photos: str) -> None:
    with (
        ServerProcess(base_path, "photos", start_timeout_seconds=600) as server,
        Client(server.address, "photos", timeout_seconds=300) as client,
    ):
        answers = [
            dict(zip(prediction.class_names, prediction.probabilities, strict=True))
            for prediction in client.predict_files(photos)
        ]
    print(json.dumps({"tensorflow": importlib.metadata.version("tensorflow"), "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
