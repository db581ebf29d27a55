"""The report's own words in one language, out of the one catalogue of texts."""

from __future__ import annotations

from dctop.engine.rules.texts import catalogue


class Say:
    """`say("top", time=..., ...)`: a text with its fields filled."""

    __slots__ = ("_texts", "lang")

    def __init__(self, lang: str = "en") -> None:
        self.lang = "zh" if lang.lower().startswith("zh") else "en"
        self._texts = catalogue(lang).report

    def __call__(self, key: str, /, **fields: object) -> str:
        return self._texts[key].format_map(fields)

    def many(self, key: str, n: int, /, **fields: object) -> str:
        """As for `n` of them."""
        return self(f"{key}.one" if n == 1 else key, n=n, **fields)

    def columns(self, key: str) -> tuple[str, ...]:
        """The head of a table."""
        return tuple(self._texts[key].split("|"))
