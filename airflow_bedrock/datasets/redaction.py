"""Replace personal data in texts by the name of its kind, by common patterns. Names of people have no pattern and stay.

Microsoft Presidio finds more, and is passed in the same way: any function that takes a text and returns one.
"""

from __future__ import annotations

import re
from functools import cache

# Latin, Greek and Cyrillic letters, also full width; not those of languages without spaces between words.
_LETTER = r"A-Za-z\u00c0-\u024f\u0300-\u04ff\uff21-\uff5a"
_SPACE = r" \u00a0\u2007\u2009\u202f"  # with the no-break spaces of word processors
_HYPHEN = r"\u2010-\u2015\u2212-"
_PATTERNS = {
    "EMAIL": r"[LETTER\d._%+-]{1,64}(?:['\u2019][LETTER\d._%+-]{1,64})?"
    r"[@\uff20](?:[LETTER\d-]{1,63}\.){1,8}[LETTER]{2,24}",
    "AWS_KEY": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "IBAN": r"\b[A-Z]{2}\d{2}(?:[SPACE]?[A-Z0-9]{4}){2,7}(?:[SPACE]?[A-Z0-9]{1,3})?\b",
    "CARD": r"\b\d(?:[SPACEHYPHEN]?\d){12,18}\b",
    "SSN": r"\b\d{3}[HYPHEN]\d{2}[HYPHEN]\d{4}\b",
    "IP_ADDRESS": r"\b(?<!\d\.)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b(?!\.\d)",
    "PHONE": r"(?<![\w.])(?:[+\uff0b]\d(?:[SPACE.()HYPHEN]{0,2}\d){6,14}"
    r"|\(\d{1,4}\)[SPACE.HYPHEN]?\d{2,5}(?:[SPACE.HYPHEN]\d{2,5}){1,4}|\(\d{2,5}\)[SPACE]?\d{5,10}"
    r"|0\d(?:[SPACE.HYPHEN]\d{2}){4}"  # as in France
    r"|\d{3,4}[SPACE.HYPHEN]\d{3,4}[SPACE.HYPHEN]\d{3,4})(?![\w]|\.\d)",
}


def redact_common_patterns(text: str) -> str:
    """Replace e-mail addresses, phone, card, account and social security numbers, IPv4 addresses, AWS access key ids.

    A number counts as that of a card or an account if its check digits are right; as that of a phone if it begins with
    ``+`` or a code in parentheses, or has three groups of three or four digits, or five of two that begin with 0.
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
    is_right = _CHECKS.get(name)
    if is_right is None:
        return f"[{name}]"
    # Text beside the number looks like a part of it: a quantity, the month in which a card expires.
    parts = re.split(_GAP, found)  # every second one is a gap
    for begin in range(0, len(parts), 2):
        for end in range(len(parts), begin, -2):
            if is_right("".join(parts[begin:end:2])):
                return "".join([*parts[:begin], f"[{name}]", *parts[end:]])
    return found


def _is_card(number: str) -> bool:
    """Check a card number by Luhn's check digit."""
    if len(number) < _CARD_DIGITS:
        return False
    digits = [int(one) for one in number]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(number: str) -> bool:
    """Check an account number by its remainder (ISO 7064)."""
    if len(number) < _IBAN_CHARACTERS:
        return False
    return int("".join(str(int(one, 36)) for one in number[4:] + number[:4])) % 97 == 1


_GAP = f"([{_SPACE}{_HYPHEN}])"
_CARD_DIGITS, _IBAN_CHARACTERS = 13, 15  # at least
_CHECKS = {"CARD": _is_card, "IBAN": _is_iban}
