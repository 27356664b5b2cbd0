"""From run folders to tables, figures and executed notebooks."""
