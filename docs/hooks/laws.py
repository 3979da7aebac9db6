"""A page for every registered law, made of its READMEs, and the table of all of them: nothing to add by hand."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from ansatzlab.laws.law import Law
from ansatzlab.laws.registry import LAWS

TABLE = "<!-- the table of laws -->"
"""Where a page has this, the table of laws is put."""


def on_config(config: MkDocsConfig) -> None:
    """Put every law into the navigation, below the page on laws."""
    (section,) = (entry["Laws"] for entry in config.nav or [] if "Laws" in entry and isinstance(entry["Laws"], list))
    section += [{key: f"laws/{key}.md"} for key in LAWS]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add a page for every law that has none of its own in docs/laws."""
    for key, law in LAWS.items():
        if files.get_file_from_path(f"laws/{key}.md") is None:
            files.append(File.generated(config, f"laws/{key}.md", content=_page(law)))


def on_page_markdown(markdown: str, **_: object) -> str:
    """Write the table of laws."""
    rows = [f"| [{key}](laws/{key}.md) | {law.summary} | {law.authors}: {law.source} |" for key, law in LAWS.items()]
    return markdown.replace(TABLE, "\n".join(["| law | statement | source |", "| --- | --- | --- |", *rows]))


def _page(law: Law) -> str:
    folder = Path("src/ansatzlab/laws") / law.key
    readmes = [folder / "README.md", *(folder / chapter.key / "README.md" for chapter in law.chapters)]
    return "\n\n".join(f'--8<-- "{readme}"' for readme in readmes if readme.is_file())
