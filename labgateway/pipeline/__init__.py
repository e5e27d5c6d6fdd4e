"""A stored message becomes results, observations and deliveries, in one transaction.

decide.py is pure: one result, the orders and what is known already in; what becomes of it out.
take.py joins it with the store. Everything here runs as jobs of the store's writer.
"""
