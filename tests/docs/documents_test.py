#!/usr/bin/env python3
"""The documents say what the code does: listings are the sources' own text, every error code is explained,
links lead somewhere, lines have at most 100 columns.

Runs in the root of the checkout, or of a tree of links to it. Prints what is wrong; exit code 1 then.
"""

import glob
import re
import sys

MAX_COLUMNS = 100
CODE = re.compile(r'"(E_[A-Z]+)"')
DOCUMENTED_CODE = re.compile(r"^\| `(E_[A-Z]+)`", re.MULTILINE)
LISTING = re.compile(r"<!-- from (\S+?)(, whole)? -->\n```cpp\n(.*?)```", re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
MAX_EXAMPLE_LINES = 60


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def documents():
    return sorted(glob.glob("*.md") + glob.glob("docs/*.md"))


def sources():
    return sorted(
        path
        for directory in ("core", "handoff", "handoff/uv", "handoff/cli")
        for path in glob.glob(directory + "/*.cc") + glob.glob(directory + "/*.h")
        if not path.endswith("_test.cc")
    )


def check_listings():
    if "<!-- from examples/echo.cc, whole -->" not in read("README.md"):
        yield "README.md has no whole listing of examples/echo.cc"
    for document in documents():
        text = read(document)
        listings = LISTING.findall(text)
        if len(listings) != text.count("<!-- from "):
            yield "{}: a listing is malformed".format(document)
        for path, whole, listing in listings:
            source = read(path)
            if whole and listing != source or listing not in source:
                yield "{}: the listing differs from {}: copy it again".format(document, path)
    if len(read("examples/echo.cc").splitlines()) > MAX_EXAMPLE_LINES:
        yield "examples/echo.cc has more than {} lines".format(MAX_EXAMPLE_LINES)


def check_codes():
    used = {}
    for path in sources():
        for code in CODE.findall(read(path)):
            used.setdefault(code, path)
    if len(used) < 10:
        yield "the sources were not found: only {} error codes in them".format(len(used))
    documented = DOCUMENTED_CODE.findall(read("docs/errors.md"))
    for code in sorted(set(used) - set(documented)):
        yield "docs/errors.md does not explain {} of {}".format(code, used[code])
    for code in sorted(set(documented) - set(used)):
        yield "docs/errors.md explains {}, which no source has".format(code)
    for code in sorted({code for code in documented if documented.count(code) > 1}):
        yield "docs/errors.md explains {} twice".format(code)


def exists(target, document):
    directory = document.rpartition("/")[0]
    path = (directory + "/" if directory else "") + target
    parts = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return False
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return bool(glob.glob("/".join(parts)))


def check_links():
    for document in documents():
        for inline, reference in LINK.findall(FENCED.sub("", read(document))):
            target = inline or reference
            if "://" not in target and not exists(target, document):
                yield "{}: the link to {} leads nowhere".format(document, target)


def check_columns():
    for document in documents():
        for number, line in enumerate(read(document).splitlines(), 1):
            # A table's row cannot be broken.
            if len(line) > MAX_COLUMNS and not line.startswith("|"):
                yield "{}:{}: {} columns".format(document, number, len(line))


def main():
    failures = []
    for check in (check_listings, check_codes, check_links, check_columns):
        failures += check()
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
