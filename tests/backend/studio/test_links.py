"""What people open in their browser."""

from __future__ import annotations

import pytest

from maskloop_backend.studio.links import project_page


@pytest.mark.parametrize(
    ("studio", "page"),
    [
        ("http://localhost:8080", "http://localhost:8080/projects/7/data"),
        ("https://labels.example.com/studio/", "https://labels.example.com/studio/projects/7/data"),
        ("http://[::1]:8080", "http://[::1]:8080/projects/7/data"),
        ("https://user:secret@labels.example.com", "https://labels.example.com/projects/7/data"),
    ],
)
def test_data_manager_of_a_project(studio: str, page: str) -> None:
    assert project_page(studio, 7) == page
