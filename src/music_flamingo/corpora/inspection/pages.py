"""Pages that need nothing else: templates filled in, with style and script inside."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from music_flamingo.whole_files import write_text

_TEMPLATES = Path(__file__).parent / "templates"
_HOURS_ALONE = 36_000


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a page; everything that comes from data is escaped by the template engine."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=lambda value: f"{value:,}", duration=_duration)
    page = environment.get_template(template).render(
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **values,
    )
    write_text(path, page)


def _duration(seconds: float) -> str:
    if seconds >= _HOURS_ALONE:
        return f"{seconds / 3600:,.1f} h"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
