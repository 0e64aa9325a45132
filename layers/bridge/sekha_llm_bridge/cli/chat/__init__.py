"""`sekha-bridge chat`: one message (`command`), or a conversation on a terminal (`conversation`); both print by
`display`.
"""
