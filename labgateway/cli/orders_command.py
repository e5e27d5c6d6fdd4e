"""``labgateway orders``: bring a file of orders; see the orders of a specimen."""

from __future__ import annotations

import argparse
import base64
import getpass
from pathlib import Path
from typing import Any

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump_line, guarded, local, open_store

_EPILOG = """\
  labgateway orders import orders.csv
  labgateway orders import missed.hl7 --source emr      as if [orders.emr] had sent it
  labgateway orders list 24110700123

A file holds HL7 messages (OML, ORM, ADT), a FHIR ServiceRequest or Bundle in JSON, or a CSV table with these columns in its
first line:

  order,specimen,test,patient                            must be there and filled
  family,given,birth_date,sex,collected,priority,ward,specimen_type,test_name,authority,action

birth_date as 1972-08-15, collected as 2026-11-22 08:00, sex M F O U, priority R A S, action NW (default) XO CA DC.
The same file again is harmless. docs/orders.md has the fields of each kind.
exit codes: 0 all done, 1 something was refused (and said), 2 wrong call
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "orders",
        help="bring a file of orders; see the orders of a specimen",
        description="import hands files to the running gateway and says what became of each order; list shows every order that "
        "is known of a specimen id.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    bring = actions.add_parser("import", help="hand files of orders to the running gateway")
    bring.add_argument("file", nargs="+", type=Path, metavar="FILE")
    bring.add_argument(
        "--source", default="import", metavar="NAME",
        help="the [orders.NAME] that would have sent them; its own orders are then changed. Default: import",
    )  # fmt: skip
    bring.add_argument("--by", metavar="NAME", help="who brings them; default: who is logged in")
    add_config(bring)
    add_json(bring)
    listing = actions.add_parser("list", help="the orders of a specimen id")
    listing.add_argument("specimen", metavar="SPECIMEN", help="the id exactly as on the tube")
    add_config(listing)
    add_json(listing)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _import(args) if args.action == "import" else _list(args))


def _import(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError
    from labgateway.service import control

    config = config_of(args)
    failed = 0
    for path in args.file:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LabgatewayError(f"{path} cannot be read ({error.strerror}).") from error
        request = {
            "action": "import", "data": base64.b64encode(data).decode(), "source": args.source,
            "who": args.by or getpass.getuser(),
        }  # fmt: skip
        answer = control.ask(config.gateway.data, request)
        failed += int(answer["refused"])
        for one in answer["orders"]:
            if args.json:
                dump_line({"file": path.name, **one})
            else:
                what = "  ".join(word for word in (one["order"], one["specimen"], one["test"]) if word)
                print(f"{path.name}: {one['place']}: {what + '  ' if what else ''}{one['did']}")
    return 1 if failed else 0


def _list(args: argparse.Namespace) -> int:
    from labgateway.store import orders

    config = config_of(args)
    store = open_store(config)
    try:
        found = store.read_now(lambda connection: orders.for_specimen(connection, args.specimen))
    finally:
        store.close_now()
    for order in found:
        if args.json:
            dump_line(shown(order))
            continue
        when = "not said" if order.collected_at is None else local(order.collected_at, config)
        on = f"  on {order.ordered_on}" if order.ordered_on else ""
        received = "" if order.received_at is None else local(order.received_at, config)
        print(
            f"{order.id}  {order.code}  {order.state.value}  placer {order.placer}  patient {order.patient.id or '-'}  "
            f"from {order.source}{on}  collected {when}  received {received}  priority {order.priority.value}"
        )
    if not found and not args.json:
        print("No order of this specimen id is known. It must be written exactly as on the tube.")
    return 0 if found else 1


def shown(order: Any) -> dict[str, Any]:
    """One order as plain values."""
    return {
        "order": order.id, "source": order.source, "specimen": order.specimen,
        "ordered_on": order.ordered_on or order.specimen, "placer": order.placer, "code": order.code,
        "state": order.state.value, "patient": order.patient.id, "priority": order.priority.value,
        "specimen_type": order.specimen_type, "ward": order.ward, "collected_at": order.collected_at,
        "received_at": order.received_at, "patient_changed_at": order.patient_changed_at,
    }  # fmt: skip
