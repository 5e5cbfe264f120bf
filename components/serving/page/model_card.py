"""A model card as HTML for the page: whoever wrote it, it runs and loads nothing."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_HEADINGS_BELOW = 2  # the page's own h1, and the h2 above the card


def card_html(markdown: str) -> str:
    """Renders Markdown (CommonMark and tables). HTML in it is text, and pictures are links.

    Headings stand two levels lower; tables scroll and are named after the heading above them.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = list(_embedded(parser.parse(markdown)))
    rendered: str = parser.renderer.render(tokens, parser.options, {})
    return rendered


def _embedded(tokens: Sequence[Token]) -> Iterator[Token]:
    heading = "Model card"
    for before, token in zip([None, *tokens], tokens, strict=False):
        _restyle(token)
        if token.type == "inline" and before is not None and before.type == "heading_open":
            heading = token.content
        if token.type == "table_open":
            token.attrSet("aria-label", heading)
            opened = (
                f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(heading)}">'
            )
            yield Token("html_block", "", 0, content=opened)
        yield token
        if token.type == "table_close":
            yield Token("html_block", "", 0, content="</div>")


def _restyle(token: Token) -> None:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1]) + _HEADINGS_BELOW)}"
    if token.type == "th_open":
        token.attrSet("scope", "col")
    # The page's policy forbids style attributes, which say how a column is aligned.
    if "right" in str(token.attrs.pop("style", "")):
        token.attrSet("class", "number")
    for child in token.children or ():
        if child.type == "link_open":
            child.attrSet("target", "_blank")
            child.attrSet("rel", "noopener noreferrer")


def _text(value: str) -> str:
    return html.escape(value, quote=True)
