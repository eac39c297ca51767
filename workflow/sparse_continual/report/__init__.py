"""The study's report: one HTML page, its findings as Markdown, and a LaTeX table."""
