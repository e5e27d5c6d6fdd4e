"""Orders from the EMR: what its messages ask for, and what it is answered. Pure; rows are the store's."""

from labgateway.orders.answer import answer, could_not_store
from labgateway.orders.read import read_orders
from labgateway.orders.words import OrderAction, OrderMessage, OrderRules, PatientMerge, Refusal

__all__ = [
    "OrderAction",
    "OrderMessage",
    "OrderRules",
    "PatientMerge",
    "Refusal",
    "answer",
    "could_not_store",
    "read_orders",
]
