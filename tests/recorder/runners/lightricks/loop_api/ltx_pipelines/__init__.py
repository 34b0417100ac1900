"""A small fake of ltx-pipelines, for contract tests."""
