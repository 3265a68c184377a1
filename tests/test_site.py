"""The documentation is built without a warning, and its pages load nothing from outside."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    for package in ("material", "mkdocstrings"):
        pytest.importorskip(package, reason="the extra 'docs' (mkdocs-material, mkdocstrings) is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """What a page loads: scripts, styles, images and frames, but not what it links to."""

    def __init__(self, page: Path):
        super().__init__()
        self.addresses = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.addresses.append(attributes.get("src"))
        if tag == "link" and attributes.get("rel") not in ("prev", "next", "canonical"):
            self.addresses.append(attributes.get("href"))


def test_every_page_of_docs_is_built(site):
    sources = {path.relative_to(REPOSITORY / "docs") for path in (REPOSITORY / "docs").rglob("*.md")}
    assert sources <= {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}


def test_pages_load_only_files_of_the_site(site):
    for page in site.rglob("*.html"):
        for address in filter(None, Loaded(page).addresses):
            assert page.name == "404.html" or (page.parent / address.partition("?")[0]).exists(), (page, address)
            assert not re.match(r"(https?:)?//", address), (page, address)


def test_styles_load_only_files_of_the_site(site):
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"""(url\(|@import )\s*["']?(https?:)?//""", styles)


def test_the_reference_has_the_docstrings(site):
    page = (site / "reference" / "storage.html").read_text(encoding="utf-8")
    assert "only what was committed, checked against its digest at every reading" in page


def test_pages_that_are_opened_from_a_folder_can_be_searched(site, tmp_path):
    with chromium(tmp_path) as browser:
        seen = browser.open(site / "index.html", 1200)
        browser.evaluate("document.querySelector('[data-md-toggle=search]').click()")
        browser.evaluate("""{
            const query = document.querySelector("[data-md-component=search-query]");
            query.value = "flipped bit";
            query.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}));
        }""")
        found = browser.until("document.querySelector('.md-search-result__item a')?.href")
        assert found.startswith((site / "concepts.html").as_uri())
        assert not [address for address in seen.asked_for if not address.startswith(("file:", "data:"))]
