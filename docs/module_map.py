"""Writes the module map in docs/architecture.md from the first line of each module; --check compares."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- module map -->", "<!-- end of module map -->"
LEFT_OUT = {"migrations"}


def module_map() -> str:
    """One line a module: its path and the first line of its docstring."""
    lines = []
    for package in ("flows", "forecasting", "alerts"):
        lines.append(f"\n**{package}/**\n")
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).parts
            if LEFT_OUT.intersection(parts):
                continue
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            if not doc:
                sys.exit(f"{'/'.join(parts)}: the module has no docstring")
            lines.append(f"- `{'/'.join(parts)}`: {doc.splitlines()[0]}")
    return "\n".join(lines).strip()


def main() -> int:
    """Rewrite the page, or with --check say whether it is out of date."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START, 1)
    _, after = rest.split(END, 1)
    fresh = f"{before}{START}\n{module_map()}\n{END}{after}"
    if fresh == text:
        return 0
    if "--check" in sys.argv:
        print("docs/architecture.md: the module map is out of date: make map", file=sys.stderr)
        return 1
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
