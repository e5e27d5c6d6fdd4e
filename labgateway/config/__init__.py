"""config.toml, read once: text in, frozen values out, every mistake said at once with its line and its cure.

    find --config, ./config.toml, /etc/labgateway  ->  load  ->  Config          sections.py and what it imports
                                                        `->  ComplaintsError     words.py: mistakes in plain words
    two Configs  ->  diff  ->  what a reload has to touch                        changes.py

Knows files and words only: no port is opened, no driver or mapping is read. A missing or broken mapping or
driver is no mistake of config.toml; `labgateway check` names it and the gateway parks that instrument.
"""

from labgateway.config.changes import Change, Changes, diff
from labgateway.config.destinations import SUPPORTED as SUPPORTED_DESTINATIONS
from labgateway.config.destinations import (
    DestinationSection,
    FhirDestination,
    FolderDestination,
    HttpDestination,
    MllpDestination,
    MqttDestination,
    NatsDestination,
    SqlDestination,
    TlsKeys,
    WebDestination,
)
from labgateway.config.lines import SUPPORTED as SUPPORTED_LINES
from labgateway.config.lines import FolderLine, LineSection, SerialLine, TcpLine, TcpListenLine
from labgateway.config.orders import SUPPORTED as SUPPORTED_ORDERS
from labgateway.config.orders import FhirListen, FolderOrders, ListenTls, MllpListen, OrdersSection, SqlOrders
from labgateway.config.reading import find, load
from labgateway.config.sections import (
    Config,
    Console,
    Gateway,
    Instrument,
    Matching,
    Nodes,
    Store,
)

__all__ = [
    "SUPPORTED_DESTINATIONS",
    "SUPPORTED_LINES",
    "SUPPORTED_ORDERS",
    "Change",
    "Changes",
    "Config",
    "Console",
    "DestinationSection",
    "FhirDestination",
    "FhirListen",
    "FolderDestination",
    "FolderLine",
    "FolderOrders",
    "Gateway",
    "HttpDestination",
    "Instrument",
    "LineSection",
    "ListenTls",
    "Matching",
    "MllpDestination",
    "MllpListen",
    "MqttDestination",
    "NatsDestination",
    "Nodes",
    "OrdersSection",
    "SerialLine",
    "SqlDestination",
    "SqlOrders",
    "Store",
    "TcpLine",
    "TcpListenLine",
    "TlsKeys",
    "WebDestination",
    "diff",
    "find",
    "load",
]
