"""`python -m modelpress`."""

from modelpress.cli import main

main(prog_name="modelpress")
