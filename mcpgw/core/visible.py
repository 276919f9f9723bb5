"""Text that an approver can trust: what looks like ASCII is ASCII, and nothing hides or turns the line around.

Escapes are JSON's (`\\u202e`), so exact arguments that are shown this way are still JSON, of exactly the same value.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

_HIDDEN_GROUPS = frozenset("CZNP")
_HIDDEN_SIGNS = frozenset({"Sm", "Sk"})
"""What is always escaped outside ASCII, by general category: controls and direction (C), spaces (Z), digits (N), punctuation
(P), mathematical and modifier signs. They can pass for an ASCII minus, quote, space, or for another digit."""

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164")
"""Letters, marks and symbols that show nothing: grapheme joiner, Hangul and Braille blanks, Khmer and Mongolian fillers."""

_LOOKALIKES = frozenset(
    "\u0405\u0406\u0408\u0410\u0412\u0415\u0417\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0430\u0431"  # Cyrillic
    "\u0432\u0433\u0435\u043a\u043c\u043d\u043e\u043f\u0440\u0441\u0442\u0443\u0445\u044c\u0455\u0456\u0458"
    "\u0474\u0475\u04ae\u04af\u04ba\u04bb\u04c0\u04cf\u04d4\u04d5\u0501\u050c\u050d\u051a\u051b\u051c\u051d"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03b2\u03b3"  # Greek
    "\u03b9\u03ba\u03bd\u03bf\u03c1\u03c3\u03c4\u03c5\u03c7\u03c9\u03dc\u03dd\u03f3\u03fa"
    "\u0536\u053c\u054d\u054f\u0555\u0563\u0566\u0570\u0575\u0578\u057d\u057f\u0581\u0582\u0584\u0585"  # Armenian
    "\u13a0\u13a1\u13a2\u13a5\u13a9\u13aa\u13ab\u13ac\u13b0\u13b3\u13b7\u13bb\u13c0\u13c2\u13c3\u13ce\u13d4"  # Cherokee
    "\u13d9\u13da\u13de\u13df\u13e2\u13e6\u13ee\u13f3\u13f4"
    "\u2c80\u2c82\u2c88\u2c8c\u2c8e\u2c92\u2c94\u2c98\u2c9a\u2c9e\u2c9f\u2ca2\u2ca3\u2ca4\u2ca5\u2ca6\u2ca8"  # Coptic
    "\u2cac"
    "\u0585\u05d4\u05d5\u05df\u05e1\u0627\u06c1\u0d20\u101d"  # Hebrew, Arabic and Indic
    "\ua4d0\ua4d1\ua4d3\ua4d4\ua4d6\ua4d7\ua4d9\ua4da\ua4dc\ua4dd\ua4de\ua4df\ua4e0\ua4e1\ua4e2\ua4e3\ua4e4"  # Lisu
    "\ua4e5\ua4e6\ua4ea\ua4eb\ua4ec\ua4ee\ua4f0\ua4f2\ua4f3\ua4f4"
    "\U00010404\U00010415\U0001041b\U00010420\U0001042c\U0001043d\U00010447\U00010448"  # Deseret
    "\u0131\u0196\u01a7\u01a8\u01bc\u01bd\u01c0\u01c3\u0237\u0251\u0261\u0269\u026a\u0274\u0280\u028f\u0299"  # Latin
    "\u029c\u029f\u1d00\u1d04\u1d05\u1d07\u1d0a\u1d0b\u1d0d\u1d0f\u1d18\u1d1b\u1d1c\u1d20\u1d21\u1d22\ua4f7"
    "\ua731\ua7ae"
)
"""Letters that a reader may take for an ASCII letter or digit."""

_WORD = re.compile(r"\w+")
_MOST_DESCRIBED = 100
"""Characters that are told of one by one."""


def visible(text: str) -> str:
    """Return one line of text with everything escaped that hides, reorders, or passes for something else.

    Escaped are: control, direction, zero-width, blank and unassigned characters; all spaces, punctuation, digits and
    mathematical signs outside ASCII; compatibility forms (full width, styled letters, ligatures); combining marks on an
    ASCII letter; and in a word that mixes ASCII with another script, or consists of look-alikes alone, the foreign letters.
    Other letters of any script, and emoji, stand as they are.
    """
    out = list(text)
    for position in _suspicious(text):
        out[position] = _escape(text[position])
    return "".join(out)


def visible_json(value: object) -> str:
    """Return a JSON value over several lines, each `visible`. Reading it back gives the same value."""
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    return "\n".join(visible(line) for line in lines)


def visible_payload(text: str) -> str:
    """Return a recorded payload over several lines, each `visible`: as JSON, or as one string where it was cut and is none."""
    try:
        return visible_json(json.loads(text))
    except ValueError:
        return visible_json(text)


def oddities(value: object) -> tuple[str, ...]:
    """Say which characters `visible_json` escaped: `U+0430 CYRILLIC SMALL LETTER A, 2 times`, in order of code points.

    Control characters are not among them: JSON has escapes of its own for those (`\\n`), which readers know. Beyond a hundred
    characters the last line says how many others there are: who asks must not be able to bury what was asked for.
    """
    text = json.dumps(value, ensure_ascii=False)
    found = Counter(text[position] for position in _suspicious(text))
    described = [_describe(char, count) for char, count in sorted(found.items())[:_MOST_DESCRIBED]]
    others = len(found) - len(described)
    return (*described, *([f"and {others} other characters"] if others else []))


def visible_line(value: object, longest: int) -> str:
    """Return a JSON value on one line of at most so many characters, `visible`, cut with an ellipsis where it is longer.

    It takes no longer for a long value than for a short one, but for writing it down as JSON.
    """
    raw = json.dumps(value, ensure_ascii=False)
    text = visible(raw[: 2 * longest])  # twice, so that no word is judged by half of it
    return text if len(raw) <= longest and len(text) <= longest else f"{text[: longest - 1]}…"


def _suspicious(text: str) -> Iterator[int]:
    if text.isascii() and text.isprintable():
        return
    foreign = _foreign_positions(text)
    base = " "
    for position, char in enumerate(text):
        is_mark = unicodedata.category(char).startswith("M")
        base = base if is_mark else char
        if _is_hidden(char) or position in foreign or (is_mark and base.isascii()):
            yield position


def _is_hidden(char: str) -> bool:
    if char.isascii():
        return not char.isprintable()
    category = unicodedata.category(char)
    if category[0] in _HIDDEN_GROUPS or category in _HIDDEN_SIGNS or char in _BLANK or _is_variation_selector(char):
        return True
    return unicodedata.normalize("NFKC", char) != unicodedata.normalize("NFC", char)


def _is_variation_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _foreign_positions(text: str) -> frozenset[int]:
    """Find the letters of words that could be read as ASCII: mixed with it, or made of look-alikes alone."""
    found: set[int] = set()
    for word in _WORD.finditer(text):
        beyond = [position for position in range(*word.span()) if not text[position].isascii()]
        if len(beyond) == word.end() - word.start():
            suspicious = beyond if all(text[position] in _LOOKALIKES for position in beyond) else []
        else:
            suspicious = [position for position in beyond if not _is_plain_latin(text[position])]
        found.update(suspicious)
    return frozenset(found)


def _is_plain_latin(char: str) -> bool:
    """Tell whether it is a Latin letter that differs from ASCII's visibly: an accent on it, or an `ß`, `æ`, `ø`."""
    return char not in _LOOKALIKES and unicodedata.name(char, "").startswith("LATIN ")


def _escape(char: str) -> str:
    return json.dumps(char)[1:-1] if char != "\x7f" else "\\u007f"


def _describe(char: str, count: int) -> str:
    times = "once" if count == 1 else f"{count} times"
    return f"U+{ord(char):04X} {unicodedata.name(char, '(no name)')}, {times}"
