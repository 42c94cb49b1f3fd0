"""What the command line shows: trees, tables and lines. Views in, text out."""
