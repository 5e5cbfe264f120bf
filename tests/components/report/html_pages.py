"""A page taken apart: elements, and visible text by section."""

import html.parser


class Page(html.parser.HTMLParser):
    """Elements and visible text by section of a page."""

    VOID = {"meta", "link", "br", "img", "line", "polyline", "input"}  # noqa: RUF012

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.section = [], [], {}, "top"
        self.feed(text)
        assert self.open == [], f"unclosed: {self.open}"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag == "section":
            self.section = attributes["id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            text = f"{self.texts.get(self.section, '')} {data}"
            self.texts[self.section] = " ".join(text.split())

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]
