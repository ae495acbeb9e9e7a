"""Every relative link of README and docs leads to a file that is there, and every anchor to a heading of it.

Two programs show these pages and call headings differently (GitHub keeps two hyphens where Python-Markdown has one):
a link has to be right in both.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")]
_LINK = re.compile(r"(?<!\\)\]\(([^()\s]+)\)")


def prose(path: Path) -> str:
    """Return a page without its code, where brackets are no links."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda code: " " * len(code[0]), text)


def anchors(path: Path) -> set[str]:
    """Return what headings of a page are called on GitHub and on the site."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    github: set[str] = set()
    site: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading)
        github.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
        site.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain.lower()).strip()))
    return github & site


def broken(path: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong = []
    for link in _LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading: `x`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](gone.md) [c](there.md#a-heading-x) [d](there.md#no) [e](https://example.com) `[f](code.md)`\n"
    )
    assert broken(page) == ["gone.md", "there.md#no"]


def test_pages_link_within_docs() -> None:
    """The site holds docs/ alone: what lies beside it is named, not linked."""
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        for link in _LINK.findall(prose(page)):
            if not re.match(r"[a-z]+:|#", link):
                assert (page.parent / link.partition("#")[0]).resolve().is_relative_to(docs), (page.name, link)


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r'= "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text("utf-8")))
    assert named == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}


def test_every_picture_is_shown_somewhere() -> None:
    shown = {
        (page.parent / link).resolve() for page in PAGES for link in _LINK.findall(prose(page)) if "images/" in link
    }
    assert set((ROOT / "docs" / "images").iterdir()) - shown == set()
