"""What the inbound APIs of chats share: what a conversation requires of a model, and running it, whole or streamed."""
