"""Whether the network saw the test images, or others of their groups, while it was trained."""

from __future__ import annotations

import os

import numpy as np

from slimworks.components import contracts
from slimworks.components.examples import reading
from slimworks.components.gate import bounds
from slimworks.components.gate.answers import Answers
from slimworks.components.gate.bounds import Bound


def unseen_images(answers: Answers, examples_dir: str | os.PathLike[str], split: str) -> Bound:
    """Fails where a judged image, or one of its group, is in a split that training reads.

    Ingest deals groups out whole and proves it; this looks at the examples as they are now.

    Args:
        answers: The candidate's, with the column "group" where the predictions file has it.
        examples_dir: Examples artifact that the model was trained and evaluated with.
        split: The split that was evaluated; where training reads it, nothing is checked.

    Raises:
        DataError: A shard is damaged.
    """
    name = "unseen_images"
    if split != "test":
        reason = f"Judged on the {split} split, which training reads: the figures flatter."
        return bounds.check(name, True, reason)
    ids = set(answers.image_ids.tolist())
    groups = set(answers.columns.get("group", np.zeros(0, np.str_)).tolist()) - {""}
    seen, related, example = 0, 0, ""
    for other in contracts.SPLITS[:2]:
        if not any(contracts.split_folder(examples_dir, other).glob("[!.]*")):
            continue
        for image in reading.iterate_examples(examples_dir, other):
            is_same = _text(image.get(contracts.IMAGE_ID)) in ids
            is_related = _text(image.get(contracts.IMAGE_GROUP)) in groups
            seen += is_same
            related += is_related and not is_same
            if (is_same or is_related) and not example:
                example = f" ({_text(image.get(contracts.IMAGE_FILENAME))} in {other})"
    if seen or related:
        what = [f"{seen} test images were trained on or chosen by"] * bool(seen)
        what += [f"{related} training images are of the same groups as test images"] * bool(related)
        reason = f"{' and '.join(what)}{example}: the accuracy is too good to be believed."
        return bounds.check(name, False, reason[0].upper() + reason[1:], float(seen + related))
    return bounds.check(name, True, "No test image, and none of its group, was trained on.")


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
