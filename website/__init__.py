"""The documentation as a website: docs/*.md and pages made from the code, built by zensical."""
