#!/usr/bin/env python3
"""Looks at every link of a folder of HTML that stays in it: the file is there, and so is the anchor. Asks no network."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors that a page has, and what it links to."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links = {""}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag in ("a", "img"):
                self.links.append(value)


def main(folder):
    root = Path(folder).resolve()
    # print.html is all pages once more; its anchors are made up.
    pages = {path: Page(path.read_text()) for path in root.rglob("*.html") if path.name not in ("print.html", "404.html")}
    looked_at, broken = 0, []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("print.html"):
                continue
            looked_at += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if root not in target.parents or not target.exists():
                broken.append(f"{path.name}: {link}: no such file")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.name}: {link}: no such place in it")
    for line in sorted(set(broken)):
        print(f"check-links: {line}", file=sys.stderr)
    print(f"check-links: {len(pages)} pages, {looked_at} links, {len(set(broken))} broken")
    return 1 if broken or len(pages) < 2 or not looked_at else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/check-links.py FOLDER")
    sys.exit(main(sys.argv[1]))
