"""Read the project's docstring headings as mkdocstrings knows them: `Example:` is its section of examples."""

import re

from griffe import Extension, Object


class ProjectHeadings(Extension):
    """Rename the headings of every docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Rename the heading in one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
