"""What mkdocs.yml lacks to show docstrings: the roles of reStructuredText, which mkdocstrings does not know."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:[\w+]+:)*(?:class|func|meth|mod|attr|exc):<code>(?:~[\w.]*\.)?(.*?)(?: &lt;.*?&gt;)?</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Show ``:class:`~package.Name``` as the name."""
    return _ROLE.sub(r"<code>\1</code>", html)
