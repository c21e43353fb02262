"""``make docs``: write the licences of what we need into docs/licences.md; with ``--list``, print those of everything.

Everything is what ``pip`` installs for each line of the README's table, here and now: the packages of the environment.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from demo.workplace import PROJECT

PAGE = PROJECT / "docs" / "licences.md"
GENERATED = re.compile(r"(<!-- (direct|weak) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
COMMAND = re.compile(r"`pip install '?([^'`]+)'?`")

# Words of the licences that may come in. Weak copyleft is about the package itself, not about the code that imports it.
PERMISSIVE = re.compile(r"\b(0BSD|Apache|Artistic|BSD|CC0|ISC|MIT|PSF|Python Software Foundation|Unlicense|Zlib)\b")
WEAK_COPYLEFT = re.compile(r"\b(LGPL|Lesser General Public License|MPL|Mozilla Public License)\b")

# Licences of packages that leave the choice, by what we choose.
CHOSEN = {"text-unidecode": "Artistic License"}


def main() -> None:
    """Write the page, or print the licences of all packages."""
    if sys.argv[1:] == ["--list"]:
        for requirement in installations():
            packages = closure(requirement)
            print(f"\npip install '{requirement}': {len(packages)} packages")
            for name, licence in packages.items():
                print(f"  {name:42}{licence}")
    else:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def installations() -> list[str]:
    """Return the requirements that the README says to install."""
    return COMMAND.findall((PROJECT / "README.md").read_text(encoding="utf-8"))


def closure(requirement: str) -> dict[str, str]:
    """Return the licence of each package that the requirement installs, our own included, by name."""
    found: dict[str, str] = {}
    seen, waiting = set(), [Requirement(requirement)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) not in seen:
            seen.add((name, frozenset(wanted.extras)))
            found[name] = licence(distribution(name))
            waiting += requirements(wanted)
    return dict(sorted(found.items()))


def requirements(wanted: Requirement) -> Iterator[Requirement]:
    """Iterate over what a package needs directly, with the extras that are wanted of it."""
    for line in distribution(wanted.name).requires or ():
        needed = Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in wanted.extras or {""}):
            yield needed


def licence(package: Distribution) -> str:
    """Return the licence as the package's metadata states it: the expression, or else classifiers, or else the text."""
    if chosen := CHOSEN.get(canonicalize_name(package.metadata["Name"])):
        return chosen
    stated = package.metadata.json
    if "license_expression" in stated:
        return str(stated["license_expression"])
    classifiers = [line.split(" :: ") for line in stated.get("classifier", ())]
    licences = [words[-1] for words in classifiers if words[0] == "License"]
    return "; ".join(licences) or str(stated.get("license", "unknown")).strip().splitlines()[0]


def is_allowed(licence: str) -> bool:
    """Tell whether we may depend on it: one alternative (``OR``) of which every part is permissive or weak copyleft."""
    return any(
        all(PERMISSIVE.search(part) or WEAK_COPYLEFT.search(part) for part in re.split(" AND |; ", alternative))
        for alternative in licence.strip("()").split(" OR ")
    )


def with_tables(text: str) -> str:
    """Return the page with both tables as the installed packages have them."""
    tables = {"direct": _direct, "weak": _weak}
    return GENERATED.sub(lambda found: f"{found[1]}{tables[found[2]]()}{found[3]}", text)


def _direct() -> str:
    needed: dict[str, str] = {}  # each package once, with the first installation that needs it
    for requirement in sorted(installations()):
        for package in sorted(requirements(Requirement(requirement)), key=lambda package: package.name):
            needed.setdefault(package.name, requirement)
    lines = ["| installation | needs | licence |", "| --- | --- | --- |"]
    lines += [f"| `{wanted}` | `{name}` | {licence(distribution(name))} |" for name, wanted in needed.items()]
    return "\n".join(lines) + "\n"


def _weak() -> str:
    packages = {name: stated for wanted in installations() for name, stated in closure(wanted).items()}
    lines = ["| package | licence |", "| --- | --- |"]
    lines += [f"| `{name}` | {stated} |" for name, stated in sorted(packages.items()) if WEAK_COPYLEFT.search(stated)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
