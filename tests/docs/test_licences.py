"""No package comes in under a licence that binds those who use it, and the page lists what is installed."""

from __future__ import annotations

import pytest

from demo import licences


@pytest.mark.parametrize("requirement", licences.installations())
def test_every_installed_package_has_an_allowed_licence(requirement: str) -> None:
    packages = licences.closure(requirement)
    assert not {name: licence for name, licence in packages.items() if not licences.is_allowed(licence)}


def test_the_engine_alone_is_permissive() -> None:
    packages = licences.closure("online-features")
    assert "redis" in packages
    assert all(licences.PERMISSIVE.search(licence) for licence in packages.values())


def test_the_page_lists_what_is_installed() -> None:
    text = licences.PAGE.read_text(encoding="utf-8")
    assert licences.with_tables(text) == text, "run make docs"


@pytest.mark.parametrize("stated", [
    "MIT", "BSD License", "0BSD", "MIT AND PSF-2.0", "LGPL-3.0-only", "Apache Software License; MIT License",
    "GPL-2.0-only OR MIT", "GNU Library or Lesser General Public License (LGPL)",
])  # fmt: skip
def test_permissive_licences_and_weak_copyleft_are_allowed(stated: str) -> None:
    assert licences.is_allowed(stated)


@pytest.mark.parametrize("stated", [
    "GPL-3.0-or-later", "AGPL-3.0", "MIT AND GPL-3.0-only", "MIT License; GNU General Public License (GPL)", "unknown",
    "GNU Affero General Public License v3", "SSPL-1.0", "BUSL-1.1", "Proprietary",
])  # fmt: skip
def test_strong_copyleft_and_unknown_licences_are_not(stated: str) -> None:
    assert not licences.is_allowed(stated)
