"""Replace personal data in texts by the name of its kind, by common patterns. Names of people have no pattern and stay.

Microsoft Presidio finds more, and is passed in the same way: any function from a text to a text.
"""

from __future__ import annotations

import re
from functools import cache

# Latin, Greek and Cyrillic letters, also full width; not those of languages without spaces between words.
_LETTER = r"A-Za-z\u00c0-\u024f\u0300-\u04ff\uff21-\uff5a"
_SPACE = r" \u00a0\u2007\u2009\u202f"  # with the no-break spaces of word processors
_HYPHEN = r"\u2010-\u2015\u2212-"
_PATTERNS = {
    "EMAIL": r"[LETTER\d._%+-]{1,64}[@\uff20](?:[LETTER\d-]{1,63}\.){1,8}[LETTER]{2,24}",
    "AWS_KEY": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "IBAN": r"\b[A-Z]{2}\d{2}(?:[SPACE]?[A-Z0-9]{4}){2,7}(?:[SPACE]?[A-Z0-9]{1,3})?\b",
    "CARD": r"\b\d(?:[SPACEHYPHEN]?\d){12,18}\b",
    "SSN": r"\b\d{3}[HYPHEN]\d{2}[HYPHEN]\d{4}\b",
    "IP_ADDRESS": r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b",
    "PHONE": r"(?<![\w.])(?:[+\uff0b]\d(?:[SPACE.()HYPHEN]{0,2}\d){6,14}"
    r"|\(\d{1,4}\)[SPACE.HYPHEN]?\d{2,4}(?:[SPACE.HYPHEN]\d{2,4}){1,4}|\(\d{2,5}\)[SPACE]?\d{5,10}"
    r"|\d{3,4}[SPACE.HYPHEN]\d{3,4}[SPACE.HYPHEN]\d{3,4})(?![\w]|\.\d)",
}


def redact_common_patterns(text: str) -> str:
    """Replace e-mail addresses, phone, card, account and social security numbers, IPv4 addresses, AWS access key ids.

    A number counts as that of a card or an account if its check digits are right; as that of a phone if it begins with
    ``+`` or a code in parentheses, or has three groups of three or four digits.
    """
    for name, pattern in _compiled().items():
        text = pattern.sub(lambda match, name=name: _replaced(name, match[0]), text)  # type: ignore[misc]
    return text


@cache
def _compiled() -> dict[str, re.Pattern[str]]:
    """Compile the patterns when the first text is redacted: a DAG file only names the function."""
    return {
        name: re.compile(pattern.replace("LETTER", _LETTER).replace("SPACE", _SPACE).replace("HYPHEN", _HYPHEN))
        for name, pattern in _PATTERNS.items()
    }


def _replaced(name: str, found: str) -> str:
    if (name == "CARD" and not _is_card(found)) or (name == "IBAN" and not _is_iban(found)):
        return found
    return f"[{name}]"


def _is_card(found: str) -> bool:
    """By Luhn's check digit."""
    digits = [int(one) for one in found if one.isdigit()]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(found: str) -> bool:
    """By its remainder (ISO 7064)."""
    plain = re.sub(r"\s", "", found)
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1
