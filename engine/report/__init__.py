"""The post-mortem of a recording: facts, contributing factors, Markdown and HTML."""
