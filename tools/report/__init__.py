"""The report: one page that shows every application, proof and number, made of tables; ``python -m tools.report``."""
