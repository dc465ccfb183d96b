"""Checks the site that scripts/book made: links.py PAGES SITE. Prints what is wrong, a line each, and exits with 1 if anything is."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

# What a browser loads by itself; a link (`a`) is only followed by who wants to.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src"}


class Page(HTMLParser):
    """The names of places in a page, its links, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places.update(attributes[name] for name in ("id", "name") if attributes.get(name))
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get(LOADED.get(tag)):
            self.loaded.append(attributes[LOADED[tag]])


def problems(pages, site):
    chapters = {path.name: Page(path.read_text()) for path in site.glob("*.html") if path.name != "404.html"}
    for source in sorted(pages.glob("*.md")):
        if source.name != "SUMMARY.md" and f"{source.stem}.html" not in chapters:
            yield f"{source}: is not in {pages}/SUMMARY.md"
    for name, page in sorted(chapters.items()):
        yield from (f"{name}: loads {address} from elsewhere" for address in page.loaded if urlparse(address).netloc)
        for link in page.links + page.loaded:
            address, place = urldefrag(link)
            if urlparse(address).scheme or urlparse(address).netloc:
                continue
            target = (site / unquote(address)).resolve() if address else site / name
            if not target.is_file() or site not in target.parents:
                yield f"{name}: {link} leads to nothing in the site"
            elif place and (target.name not in chapters or unquote(place) not in chapters[target.name].places):
                yield f"{name}: {link} leads to a place that {target.name} does not have"


def sources_problems(root):
    """Links of the pages that stand beside the sources lead to files that are there."""
    for page in sorted(root.glob("*.md")):
        for address in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not urlparse(address).scheme and not (root / address).exists():
                yield f"{page.name}: {address} is not there"


if __name__ == "__main__":
    pages, site = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    found = sorted({*problems(pages, site), *sources_problems(pages.resolve().parent)})
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
