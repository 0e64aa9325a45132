"""Amazon Bedrock's wire format: Converse for chats, InvokeModel for embeddings."""
