"""`sekha-bridge health`: reads the report of the bridge (`source`, `report`) and displays it (`screen`), once or until
Ctrl-C (`watch`).
"""
