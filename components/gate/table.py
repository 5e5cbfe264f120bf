"""The bounds as text for a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 80
NAME_WIDTH = 28
MAX_PARTS = 8  # passed bounds on a class or a slice that have a line each
_HEADINGS = ("value", "interval", "wanted", "verdict")
_WIDTHS = (7, 17, 8, 12)


def format_table(decision: Mapping[str, Any]) -> str:
    """Fixed-width table of a decision (content of decision.json), at most 80 columns wide.

    One line per bound; below each that did not pass, its reason. Many passes on classes or slices
    are one line. Ends with the verdict and, when it passed, with the reasons.
    """
    lines = [_line("bound", _HEADINGS), "-" * WIDTH]
    passed_parts = [bound for bound in decision["bounds"] if _is_passed_part(bound)]
    is_folded = len(passed_parts) > MAX_PARTS
    for bound in decision["bounds"]:
        if is_folded and _is_passed_part(bound):
            continue
        lines.append(_line(bound["name"], _cells(bound)))
        if bound["verdict"] != "pass":
            lines += _wrapped(bound["reason"])
    if is_folded:
        lines.append(_line(f"{len(passed_parts)} of classes, slices", ("", "", "", "pass")))
    lines += ["-" * WIDTH, *textwrap.wrap(_verdict(decision), WIDTH)]
    if decision["verdict"] == "pass":
        for reason in decision["reasons"]:
            lines += _wrapped(reason)
    return "\n".join(lines)


def _is_passed_part(bound: Mapping[str, Any]) -> bool:
    is_part = bound.get("class") is not None or bound.get("slice") is not None
    return is_part and bound["verdict"] == "pass"


def _cells(bound: Mapping[str, Any]) -> Sequence[str]:
    # A change carries its sign; the other figures are proportions or counts.
    form = "+.3f" if "_change" in bound["name"] else ".3f"
    interval = "" if bound["low"] is None else f"{bound['low']:{form}} to {bound['high']:{form}}"
    sign = bound.get("sign", ">=")  # decisions of format 1 have none
    wanted = "" if bound["threshold"] is None else f"{sign} {bound['threshold']:.3g}"
    value = bound["value"]
    shown = "" if value is None else f"{value:{form}}"
    if interval == "" and value is not None:
        shown = f"{value:g}" if float(value).is_integer() else f"{value:.2g}"
    return (shown, interval, wanted, bound["verdict"])


def _line(name: str, cells: Sequence[str]) -> str:
    padded = [f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)]
    return (_fitted(name, NAME_WIDTH) + " " + " ".join(padded)).rstrip()


def _fitted(text: str, width: int) -> str:
    """Pads or cuts to terminal columns; Chinese characters take two."""
    if _columns(text) <= width:
        return text + " " * (width - _columns(text))
    kept = ""
    for character in text:
        if _columns(kept + character) > width - 1:
            break
        kept += character
    return kept + "…" + " " * (width - 1 - _columns(kept))


def _columns(text: str) -> int:
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _verdict(decision: Mapping[str, Any]) -> str:
    forced = decision.get("forced")
    if forced:
        return (
            f"verdict: {decision['verdict']}; pushed all the same by {forced['by']} (--force): "
            f"{forced['reason']}"
        )
    if decision["verdict"] != "inconclusive":
        return f"verdict: {decision['verdict']}"
    outcome = {
        "refuse": "the candidate is refused",
        "keep": "the live model is kept",
        "push": "the candidate is pushed all the same",
    }[decision["on_inconclusive"]]
    return f"verdict: inconclusive; {outcome} (gate.on_inconclusive: {decision['on_inconclusive']})"
