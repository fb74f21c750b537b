"""The tables in docs/ that programs write: each between two comments of its page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

END = "<!-- end -->"


@dataclass(frozen=True)
class Table:
    """A table of a page.

    :param page: with the two comments.
    :param made_by: the command that writes it, which the first of them names.
    """

    page: Path
    made_by: str
    columns: tuple[str, ...]

    @property
    def begin(self) -> str:
        """The comment before the table."""
        return f"<!-- begin: made by {self.made_by} -->"

    def rows(self) -> list[str]:
        """Return the rows in the page."""
        table = self.page.read_text().partition(self.begin)[2].partition(END)[0]
        return [row for row in table.splitlines() if row.startswith("| ")][1:]

    def markdown(self, rows: Iterable[str]) -> str:
        """Return the table with these rows."""
        return "\n".join([line(*self.columns), "|---" * len(self.columns) + "|", *rows])

    def write(self, rows: Iterable[str]) -> None:
        """Replace the rows in the page by these."""
        before, _, rest = self.page.read_text().partition(self.begin)
        self.page.write_text(f"{before}{self.begin}\n\n{self.markdown(rows)}\n\n{END}{rest.partition(END)[2]}")


def line(*cells: object) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
