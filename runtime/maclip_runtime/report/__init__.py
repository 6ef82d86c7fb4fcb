"""A report of a watch as one self-contained HTML file: `collecting` keeps what happened, `page` draws it."""

from maclip_runtime.report.collecting import Report

__all__ = ["Report"]
