"""BibTeX for what a result rests on: the papers of its laws, its data and this program."""

import re
from importlib.metadata import version

from ansatzlab.laws.law import Law

_ARXIV = re.compile(r"\barXiv[ :.](\d{4}\.\d{4,5})")
_DOI = re.compile(r"doi\.org/(\S+)")
_YEAR = re.compile(r"[a-z](\d{4})[a-z]")
_SPECIAL = re.compile(r"(?<!\\)[&%_#]")

DATA: dict[str, str] = {
    "diabetes": """@article{efron2004least,
  title = {{Least Angle Regression}},
  author = {Bradley Efron and Trevor Hastie and Iain Johnstone and Robert Tibshirani},
  journal = {The Annals of Statistics},
  volume = {32},
  number = {2},
  pages = {407--499},
  year = {2004},
}""",
    "digits": """@misc{alpaydin1998optical,
  title = {{Optical Recognition of Handwritten Digits}},
  author = {Ethem Alpaydin and Cenk Kaynak},
  howpublished = {UCI Machine Learning Repository},
  doi = {10.24432/C50P49},
  year = {1998},
}""",
    "fashion_mnist": """@misc{xiao2017fashion,
  title = {{Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms}},
  author = {Han Xiao and Kashif Rasul and Roland Vollgraf},
  eprint = {1708.07747},
  archivePrefix = {arXiv},
  year = {2017},
}""",
    "flights": """@manual{wickham2014nycflights13,
  title = {{nycflights13: Flights that Departed NYC in 2013}},
  author = {Hadley Wickham},
  year = {2014},
}""",
    "linnerud": """@book{tenenhaus1998regression,
  title = {{La régression PLS: théorie et pratique}},
  author = {Michel Tenenhaus},
  publisher = {Technip},
  year = {1998},
}""",
    "mnist": """@article{lecun1998gradient,
  title = {{Gradient-based learning applied to document recognition}},
  author = {Yann LeCun and Léon Bottou and Yoshua Bengio and Patrick Haffner},
  journal = {Proceedings of the IEEE},
  volume = {86},
  number = {11},
  pages = {2278--2324},
  year = {1998},
}""",
}
"""The works that real data sets ask to be cited by; synthetic ones have none."""


def law_bibtex(law: Law) -> str:
    """Return the BibTeX entry of a law's paper.

    Conventions:
        The entry's key is the law's. Titles are in double braces, so that no style changes their capitals; letters are
        Unicode, as biblatex and current BibTeX styles read them; ``& % _ #`` are escaped but in addresses, which are
        read as they are.

    Args:
        law: The law; its authors are separated by commas, the year is that of its key.

    Returns:
        One entry, without a newline at its end.

    Example:
        >>> from ansatzlab.laws.registry import get_law
        >>> print(law_bibtex(get_law("tansley2025nfa")))
        @misc{tansley2025nfa,
          title = {{On the Neural Feature Ansatz for Deep Neural Networks}},
          author = {Edward Tansley and Estelle Massart and Coralia Cartis},
          howpublished = {arXiv 2510.15563 (2025)},
          eprint = {2510.15563},
          archivePrefix = {arXiv},
          url = {https://arxiv.org/abs/2510.15563},
          year = {2025},
        }
    """
    arxiv, doi = _ARXIV.search(law.source), _DOI.search(law.url)
    year = _YEAR.search(law.key)
    fields = {
        "title": f"{{{_escaped(law.title)}}}",
        "author": _escaped(" and ".join(name.strip() for name in law.authors.split(","))),
        "howpublished": _escaped(law.source),
        **({"eprint": arxiv[1], "archivePrefix": "arXiv"} if arxiv else {}),
        **({"doi": doi[1]} if doi else {}),
        **({"url": law.url} if law.url else {}),
        **({"year": year[1]} if year else {}),
    }
    return _entry("misc", law.key, fields)


def program_bibtex() -> str:
    """Return the BibTeX entry of this program in the version that runs."""
    fields = {
        "title": "{ansatzlab: a laboratory for the laws of feature learning}",
        "author": "{The ansatzlab developers}",
        "version": version("ansatzlab"),
    }
    return _entry("software", "ansatzlab", fields)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}"
