"""`sekha-bridge health`: asks the bridge for its report (`source`, `report`) and shows it (`screen`), once or until
Ctrl-C (`watch`).
"""
