"""``labgateway destination``: what a destination wants at its other end."""

from __future__ import annotations

import argparse

from labgateway.cli.common import Parsers, add_config, config_of, guarded


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "destination",
        help="the table that a destination of kind sql wants",
        description="What a destination wants at its other end. Opens no connection.",
    )
    deeds = parser.add_subparsers(dest="deed", metavar="WHAT", required=True)
    ddl = deeds.add_parser(
        "ddl",
        help="print the CREATE TABLE statement of a destination of kind sql",
        description="Prints the statement that makes the table of a destination of kind sql, with the columns that "
        "config.toml declares, in the words of its database. Types may be changed: what a column cannot hold exactly is "
        "refused, never rounded or cut. The column of `id` (or `first_id`) must stay unique.",
        epilog="example: labgateway destination ddl table | mariadb emr",
    )
    ddl.add_argument("name", metavar="NAME", help="the NAME of [destination.NAME]")
    add_config(ddl)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _ddl(args))


def _ddl(args: argparse.Namespace) -> int:
    from labgateway.config import SqlDestination
    from labgateway.errors import LabgatewayError
    from labgateway.gateway import outlets

    config = config_of(args)
    section = config.destinations.get(args.name)
    if not isinstance(section, SqlDestination):
        tables = [name for name, one in config.destinations.items() if isinstance(one, SqlDestination)]
        known = f"There are: {', '.join(tables)}." if tables else "config.toml has none."
        raise LabgatewayError(f"{args.name} is no destination of kind sql. {known}")
    print(outlets.statement(section))
    return 0
