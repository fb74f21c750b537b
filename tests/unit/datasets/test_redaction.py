"""The common patterns of personal data: what is found, and what only looks like it."""

from __future__ import annotations

import pytest

from airflow_bedrock.datasets.redaction import redact_common_patterns


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Write to jane.doe+x@mail.example.co.uk, please.", "Write to [EMAIL], please."),
        ("Call +49 30 1234 5678 or (030) 123-4567.", "Call [PHONE] or [PHONE]."),
        ("+49 170 1234567, +4917012345678, +1 (415) 555-0100, 2+1234", "[PHONE], [PHONE], [PHONE], 2+1234"),
        ("Card 4111 1111 1111 1111, not 4111 1111 1111 1112.", "Card [CARD], not"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [IBAN]."),
        ("SSN 123-45-6789", "SSN [SSN]"),
        ("From 192.168.0.17 to 1.2.3", "From [IP_ADDRESS] to 1.2.3"),
        ("Key AKIAIOSFODNN7EXAMPLE", "Key [AWS_KEY]"),
        ("In 2026 we sold 1,234 of version 3.14 on 2026-11-21.", "In 2026 we sold 1,234 of version 3.14"),
        # As word processors and web pages write them: spaces and hyphens at which no line breaks, full width.
        ("+49\u00a030\u2011123456, 555\u2011123\u20114567, \uff0b\uff14\uff19 30 123456", "[PHONE], [PHONE], [PHONE]"),
        ("4111\u00a01111\u00a01111\u00a01111, DE89\u202f3704\u202f0044\u202f0532\u202f0130\u202f00", "[CARD], [IBAN]"),
        ("123\u201145\u20116789, j\u00fcrgen@b\u00fccher.de, e\u0301lise@x.fr", "[SSN], [EMAIL], [EMAIL]"),
        ("\u0430\u043d\u043d\u0430@\u043f\u043e\u0447\u0442\u0430.\u0440\u0444", "[EMAIL]"),
        ("(030) 123456; (1) 2026 (2) 12 of 30", "[PHONE]; (1) 2026 (2) 12 of 30"),
        ("\u8bf7\u8054\u7cfbann@example.com\u8c22\u8c22", "\u8bf7\u8054\u7cfb[EMAIL]\u8c22\u8c22"),
        # What stands beside a number, and looks like a part of it: digits of it stayed in the text.
        ("2 4111 1111 1111 1111 12/26 123", "2 [CARD] 12/26 123"),
        ("BE68 5390 0754 7034 BIC KREDBEBB, AT61 1904 3002 3457 3201 BANK", "[IBAN] BIC KREDBEBB, [IBAN] BANK"),
        ("(11) 91234-5678, 06.12.34.56.78, 01 23 45 67 89.", "[PHONE], [PHONE], [PHONE]."),
        ("ann.o'neil@example.com, 'b@example.com'", "[EMAIL], '[EMAIL]'"),
        ("1.2.3.4.5 and 10.0.0.1.", "1.2.3.4.5 and [IP_ADDRESS]."),
        ("", ""),
    ],
)
def test_patterns(text: str, redacted: str) -> None:
    """Each is replaced by its name; check digits decide where there are any."""
    assert redact_common_patterns(text).startswith(redacted)
