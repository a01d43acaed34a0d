"""Composes man pages from plain text in the man macros (groff_man(7))."""

from __future__ import annotations


def text(plain: str) -> str:
    """Plain text so that troff shows it as it stands: no letter is a command, `-` is the one of the keyboard."""
    shown = plain.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in shown.splitlines())


def bold(plain: str) -> str:
    """The same in bold."""
    return rf"\fB{text(plain)}\fR"


def italic(plain: str) -> str:
    """The same in italics, as for what stands in place of a value."""
    return rf"\fI{text(plain)}\fR"


def head(name: str, section: int, date: str, version: str, kind: str) -> str:
    """The first line: which page it is. `date` as YYYY-MM-DD."""
    return f'.TH {name} {section} "{date}" "llmqd {version}" "{kind}"\n'


def heading(name: str, *parts: str) -> str:
    """A section of the page."""
    return f".SH {name}\n" + "".join(parts)


def subheading(name: str, *parts: str) -> str:
    """A part of a section."""
    return f".SS {text(name)}\n" + "".join(parts)


def paragraph(*sentences: str) -> str:
    """Text that is already troff's."""
    return ".P\n" + "\n".join(sentences) + "\n"


def item(tag: str, *body: str) -> str:
    """A hanging paragraph: `tag`, and what it means, both already troff's."""
    return f".TP\n{tag}\n" + "\n".join(body) + "\n"


def example(plain: str) -> str:
    """Lines that keep their breaks."""
    return f".P\n.RS 4\n.EX\n{text(plain.rstrip())}\n.EE\n.RE\n"
